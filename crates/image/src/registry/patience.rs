//! How long a busy or broken registry is asked again: 429 and 5xx, `Retry-After` (RFC 9110 section 10.2.3).
//!
//! Bounded in tries and in time: who waits is a person. Never: asks again what a registry has refused for good.

use super::{client::text_header, error::RegistryError};
use http::{HeaderMap, Response, StatusCode, header};
use std::time::Duration;
use tokio::time::sleep;

/// The longest single pause.
pub(crate) const LONGEST: Duration = Duration::from_secs(15);

/// Further tries of a request whose failure may pass.
const TRIES: u32 = 2;

/// Further tries of a request that a registry wants after a time that it names.
const TRIES_WHEN_ASKED: u32 = 4;

/// Before a busy registry that does not say how long is asked again; doubled each time.
const BUSY: Duration = Duration::from_millis(500);

/// What is left of it, for one request.
pub(crate) struct Patience {
    /// `None`: failures are somebody else's; only what the registry itself asks for is waited for.
    back_off: Option<Duration>,
    busy: Duration,
    failures: u32,
    refusals: u32,
}

impl Patience {
    /// With failures that may pass, too: the first pause is `back_off`.
    pub(crate) fn new(back_off: Duration) -> Self {
        Self { back_off: Some(back_off), ..Self::when_asked() }
    }

    /// Only with a registry that says that it is busy.
    pub(crate) fn when_asked() -> Self {
        Self { back_off: None, busy: BUSY, failures: 0, refusals: 0 }
    }

    /// Waits, if this is to be asked once more.
    pub(crate) async fn wait<B>(&mut self, answer: &Result<Response<B>, RegistryError>) -> bool {
        let Some(pause) = self.pause(answer) else { return false };
        tracing::debug!(?pause, "the registry's failure may pass, trying again");
        sleep(pause).await;
        true
    }

    fn pause<B>(&mut self, answer: &Result<Response<B>, RegistryError>) -> Option<Duration> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) if e.is_passing() => return self.failed(),
            Err(_) => return None,
        };
        let asked = asked(answer.status(), answer.headers());
        match answer.status().as_u16() {
            429 | 503 if asked.is_some() => self.refused(asked),
            429 => self.refused(None),
            500 | 502 | 503 | 504 => self.failed(),
            _ => None,
        }
    }

    fn failed(&mut self) -> Option<Duration> {
        let pause = self.back_off?;
        self.failures += 1;
        self.back_off = Some(pause * 2);
        (self.failures <= TRIES).then_some(pause)
    }

    fn refused(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.refusals += 1;
        let (pause, tries) = match asked {
            Some(pause) => (pause, TRIES_WHEN_ASKED),
            None => (self.busy, TRIES),
        };
        self.busy *= 2;
        (self.refusals <= tries && pause <= LONGEST).then_some(pause)
    }
}

/// For how long a registry wants to be left alone: seconds, or a date.
pub(crate) fn asked(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let text = text_header(headers, header::RETRY_AFTER)?.trim();
    text.parse().map(Duration::from_secs).ok().or_else(|| until(text, jiff::Timestamp::now()))
}

/// Until a date: none when it is over.
fn until(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let then = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
    Some(Duration::from_secs(u64::try_from(then - now.as_second()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(retry_after: Option<&str>) -> Result<Response<()>, RegistryError> {
        let mut answer = Response::builder().status(429);
        if let Some(value) = retry_after {
            answer = answer.header(header::RETRY_AFTER, value);
        }
        Ok(answer.body(()).unwrap())
    }

    #[test]
    fn a_busy_registry_is_asked_again_when_it_says_and_not_for_ever() {
        let mut patience = Patience::when_asked();
        for _ in 0..TRIES_WHEN_ASKED {
            assert_eq!(patience.pause(&busy(Some("3"))), Some(Duration::from_secs(3)));
        }
        assert_eq!(patience.pause(&busy(Some("3"))), None);
        assert_eq!(Patience::when_asked().pause(&busy(Some("3600"))), None, "nobody waits an hour");
        assert_eq!(Patience::when_asked().pause(&busy(None)), Some(BUSY));
        let broken = Ok(Response::builder().status(502).body(()).unwrap());
        assert_eq!(Patience::when_asked().pause(&broken), None);
        assert_eq!(Patience::new(BUSY).pause(&broken), Some(BUSY));
    }

    #[test]
    fn a_date_is_a_time_to_wait_too() {
        let now = jiff::fmt::rfc2822::parse("Wed, 21 Oct 2015 07:28:00 GMT").unwrap().timestamp();
        assert_eq!(until("Wed, 21 Oct 2015 07:28:07 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(until("Wed, 21 Oct 2015 07:27:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(until("soon", now), None);
    }
}
