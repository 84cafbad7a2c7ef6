//! What time it is: on the machine, or in a simulation.
//!
//! Two kinds of time that never mix. [`Time`] only grows, and means something on one machine alone: how long
//! something took, when to look again. A wall time is for people and records, and may jump.

use minke_model::Timestamp;
use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    ops::Add,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// A point on one machine's monotonic clock. Two machines' times are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// Where the clock began.
    pub const ZERO: Time = Time(Duration::ZERO);

    /// So many milliseconds after the clock began.
    pub const fn from_millis(millis: u64) -> Self {
        Time(Duration::from_millis(millis))
    }

    /// How long after the clock began.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is; zero when it is before.
    pub fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, longer: Duration) -> Time {
        Time(self.0.saturating_add(longer))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.0.as_secs_f64())
    }
}

/// Where loops get the time from, and who wakes them.
pub trait Clock: Send + Sync {
    /// Now, on the monotonic clock.
    fn now(&self) -> Time;
    /// Now, for people and records.
    fn wall(&self) -> Timestamp;
    /// Returns once [`Clock::now`] is `until` or later.
    fn sleep_until(&self, until: Time) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The machine's clocks. Its time began when it was made.
#[derive(Clone, Debug)]
pub struct WallClock {
    start: Instant,
}

impl WallClock {
    /// Begins now.
    pub fn new() -> Self {
        WallClock { start: Instant::now() }
    }
}

impl Default for WallClock {
    fn default() -> Self {
        WallClock::new()
    }
}

impl Clock for WallClock {
    fn now(&self) -> Time {
        Time(self.start.elapsed())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, until: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // Beyond what the machine can express it is never; a day is as good, who wakes looks again.
        let at =
            self.start.checked_add(until.0).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        Box::pin(tokio::time::sleep_until(at.into()))
    }
}

/// One machine's clocks in a simulation: they move only when told to. Clones are the same clocks;
/// [`Simulated::machine`] makes others that the same hand moves, each with its own rate.
#[derive(Clone)]
pub struct Simulated {
    world: Arc<Mutex<World>>,
    machine: Arc<Mutex<Machine>>,
}

/// True time, and who sleeps until when.
#[derive(Default)]
struct World {
    now: Duration,
    sleepers: BTreeMap<(Duration, u64), Waker>,
    next: u64,
}

/// How one machine's clocks differ from the truth.
struct Machine {
    /// Parts in a million that its clock is fast.
    fast: i32,
    /// Its wall clock at true time zero.
    wall: Timestamp,
}

impl Simulated {
    /// A true clock, at zero; its wall clock shows `wall`.
    pub fn new(wall: Timestamp) -> Self {
        let machine = Machine { fast: 0, wall };
        Simulated { world: Arc::default(), machine: Arc::new(Mutex::new(machine)) }
    }

    /// Another machine's clocks in the same world: `fast` parts in a million fast (negative: slow).
    pub fn machine(&self, fast: i32) -> Self {
        let wall = lock(&self.machine).wall;
        Simulated { world: self.world.clone(), machine: Arc::new(Mutex::new(Machine { fast, wall })) }
    }

    /// Steps this machine's wall clock by `seconds`, as an administrator or NTP does.
    pub fn step_wall(&self, seconds: i64) {
        let mut machine = lock(&self.machine);
        machine.wall = Timestamp::from_nanos(
            machine.wall.as_nanos().saturating_add(seconds.saturating_mul(1_000_000_000)),
        );
    }

    /// True time, that no machine knows.
    pub fn truth(&self) -> Duration {
        lock(&self.world).now
    }

    /// The true time at which the next sleeper wakes.
    pub fn next(&self) -> Option<Duration> {
        lock(&self.world).sleepers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves true time on to `until`, and wakes whose time has come, in the order of their times.
    pub fn advance_to(&self, until: Duration) {
        let mut world = lock(&self.world);
        world.now = world.now.max(until);
        let later = world.sleepers.split_off(&(until, u64::MAX));
        let due = std::mem::replace(&mut world.sleepers, later);
        drop(world);
        due.into_values().for_each(Waker::wake);
    }

    /// The first true time at which this machine's clock shows `time`.
    fn true_time(&self, time: Time) -> Duration {
        let rate = 1_000_000 + i128::from(lock(&self.machine).fast);
        let nanos = (time.0.as_nanos() as i128 * 1_000_000 + rate - 1) / rate;
        Duration::from_nanos(nanos.clamp(0, u64::MAX as i128) as u64)
    }
}

impl Clock for Simulated {
    fn now(&self) -> Time {
        let rate = 1_000_000 + i128::from(lock(&self.machine).fast);
        let nanos = lock(&self.world).now.as_nanos() as i128 * rate / 1_000_000;
        Time(Duration::from_nanos(nanos.clamp(0, u64::MAX as i128) as u64))
    }

    fn wall(&self) -> Timestamp {
        let elapsed = i64::try_from(self.now().0.as_nanos()).unwrap_or(i64::MAX);
        Timestamp::from_nanos(lock(&self.machine).wall.as_nanos().saturating_add(elapsed))
    }

    fn sleep_until(&self, until: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let at = self.true_time(until);
        let mut sleeper = Sleeper { world: self.world.clone(), place: None };
        Box::pin(poll_fn(move |context| {
            let mut world = lock(&sleeper.world);
            if let Some(place) = sleeper.place.take() {
                world.sleepers.remove(&place);
            }
            if world.now >= at {
                return Poll::Ready(());
            }
            let place = (at, world.next);
            world.next += 1;
            world.sleepers.insert(place, context.waker().clone());
            sleeper.place = Some(place);
            Poll::Pending
        }))
    }
}

/// Takes its place back when the sleep is given up.
struct Sleeper {
    world: Arc<Mutex<World>>,
    place: Option<(Duration, u64)>,
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            lock(&self.world).sleepers.remove(&place);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn simulated_sleepers_wake_when_their_machine_says_so() {
        let world = Simulated::new(Timestamp::from_nanos(0));
        let slow = world.machine(-10_000);
        let sleep = |clock: &Simulated| tokio::spawn(clock.sleep_until(Time::from_millis(1000)));
        let (true_sleep, slow_sleep) = (sleep(&world), sleep(&slow));
        while lock(&world.world).sleepers.len() < 2 {
            tokio::task::yield_now().await;
        }
        let first = world.next().unwrap();
        assert_eq!(first, Duration::from_millis(1000));
        world.advance_to(first);
        true_sleep.await.unwrap();
        assert!(slow.now() < Time::from_millis(1000));
        world.advance_to(world.next().unwrap());
        slow_sleep.await.unwrap();
        assert!(slow.now() >= Time::from_millis(1000));
        assert_eq!(world.next(), None);
        assert!(world.truth() > Duration::from_millis(1010) && world.truth() < Duration::from_millis(1011));

        let given_up = slow.sleep_until(Time::from_millis(5000));
        drop(given_up);
        slow.step_wall(-3600);
        assert!(slow.wall() < world.wall() && slow.now() < world.now());
        assert_eq!(world.next(), None);
    }

    #[tokio::test]
    async fn the_machines_clock_sleeps_at_least_so_long() {
        let clock = WallClock::new();
        let until = clock.now() + Duration::from_millis(5);
        clock.sleep_until(until).await;
        assert!(clock.now() >= until);
    }
}
