//! Who is gone, from how long each has been silent. Pure: the caller's own monotonic clock comes in as an argument.
//!
//! Silence is counted by one machine's clock, never by two. A manager that starts, takes a node over, or finds that
//! it was asleep itself counts from zero: else it would declare dead whom it could not hear (moby/swarmkit#921).
//!
//! Brake: when much of the cluster goes silent at once, it is more likely that this machine, or its network, is at
//! fault. Then nodes become Unknown, which only moves traffic, but not Down, which moves tasks.

use minke_model::{ClusterNodeId, node::NodeState};
use std::{collections::BTreeMap, time::Duration};

/// A look is due after so long: late by more than [`ASLEEP`] means that this machine slept.
pub const LOOK: Duration = Duration::from_millis(250);
/// Longer than this between two looks, beyond [`LOOK`], and silence counts from zero.
const ASLEEP: Duration = Duration::from_millis(500);
/// A node that said that it restarts is waited for so long.
const AWAY: Duration = Duration::from_secs(60);
/// The brake holds no longer than this.
const BRAKE: Duration = Duration::from_secs(60);
/// Shortest time between two beats of a node.
const BEAT: Duration = Duration::from_secs(1);
/// Beats that a manager takes a second.
const BEATS_A_SECOND: u32 = 2000;

/// How often a node beats in a cluster of so many.
pub fn beat(nodes: usize) -> Duration {
    let spread = Duration::from_secs(1) * u32::try_from(nodes).unwrap_or(u32::MAX) / BEATS_A_SECOND;
    spread.max(BEAT)
}

/// A change that is to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Of whom.
    pub node: ClusterNodeId,
    /// What it is from now on.
    pub state: NodeState,
    /// Why, for people; empty when all is well.
    pub because: String,
}

/// What is known of one node.
#[derive(Clone, Debug)]
struct One {
    heard: Duration,
    state: NodeState,
    /// It said that it goes, then.
    away: Option<Duration>,
}

/// The nodes that this manager listens to.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    nodes: BTreeMap<ClusterNodeId, One>,
    looked: Option<Duration>,
    /// Since when, and for how many nodes, the brake is on.
    braked: Option<(Duration, usize)>,
    /// People said so.
    condemned: Vec<ClusterNodeId>,
}

impl Silence {
    /// Listens to `node` from `now` on; it is in `state` as far as others know.
    pub fn watch(&mut self, node: ClusterNodeId, state: NodeState, now: Duration) {
        let away = (state == NodeState::Away).then_some(now);
        self.nodes.entry(node).or_insert(One { heard: now, state, away });
    }

    /// It was removed, or is another's to hear.
    pub fn forget(&mut self, node: &ClusterNodeId) {
        self.nodes.remove(node);
    }

    /// Who is listened to.
    pub fn watched(&self) -> impl Iterator<Item = &ClusterNodeId> {
        self.nodes.keys()
    }

    /// It beat. The verdict, when it was not Ready before.
    pub fn heard(&mut self, node: &ClusterNodeId, now: Duration) -> Option<Verdict> {
        let one = self.nodes.entry(node.clone()).or_insert(One {
            heard: now,
            state: NodeState::Unknown,
            away: None,
        });
        one.heard = now;
        one.away = None;
        if one.state == NodeState::Ready {
            return None;
        }
        one.state = NodeState::Ready;
        Some(Verdict { node: node.clone(), state: NodeState::Ready, because: String::new() })
    }

    /// It said that it goes and comes back.
    pub fn goodbye(&mut self, node: &ClusterNodeId, now: Duration) -> Option<Verdict> {
        let one = self.nodes.get_mut(node)?;
        one.away = Some(now);
        one.heard = now;
        if one.state == NodeState::Away {
            return None;
        }
        one.state = NodeState::Away;
        Some(Verdict { node: node.clone(), state: NodeState::Away, because: "its daemon restarts".into() })
    }

    /// It said that it goes for good.
    pub fn left(&mut self, node: &ClusterNodeId) -> Option<Verdict> {
        let one = self.nodes.get_mut(node)?;
        one.state = NodeState::Down;
        Some(Verdict { node: node.clone(), state: NodeState::Down, because: "it left the cluster".into() })
    }

    /// Somebody says that it is gone for good: no brake holds that up.
    pub fn condemn(&mut self, node: ClusterNodeId) {
        self.condemned.push(node);
    }

    /// Looks at everybody's silence. To be called every [`LOOK`].
    pub fn look(&mut self, now: Duration) -> Vec<Verdict> {
        let slept = self.looked.is_some_and(|looked| now.saturating_sub(looked) > LOOK + ASLEEP);
        self.looked = Some(now);
        if slept {
            for one in self.nodes.values_mut() {
                one.heard = now;
                if one.away.is_some() {
                    one.away = Some(now);
                }
            }
        }
        let beat = beat(self.nodes.len());
        self.brake(now, beat);
        let (unknown, down) = (beat * 3, beat * 7 / 2);
        let braked = self.braked;
        let condemned = std::mem::take(&mut self.condemned);
        let mut verdicts = Vec::new();
        for (id, one) in &mut self.nodes {
            let silent = now.saturating_sub(one.heard);
            let waited_for = one.away.is_some_and(|since| now.saturating_sub(since) < AWAY);
            let gone = condemned.contains(id);
            let (state, because) = if gone && one.state != NodeState::Ready {
                (NodeState::Down, "somebody said so".to_owned())
            } else if waited_for || silent < unknown {
                continue;
            } else if let (NodeState::Unknown | NodeState::Away | NodeState::Ready, Some((_, count))) =
                (one.state, braked)
            {
                (
                    NodeState::Unknown,
                    format!(
                        "heartbeat failure; {count} nodes went silent at once, so it is not given up yet"
                    ),
                )
            } else if silent >= down || one.away.is_some() {
                (NodeState::Down, format!("heartbeat failure: silent for {:.1} s", silent.as_secs_f64()))
            } else {
                (NodeState::Unknown, format!("heartbeat failure: silent for {:.1} s", silent.as_secs_f64()))
            };
            // From Down only a beat leads back.
            if one.state == state || one.state == NodeState::Down {
                continue;
            }
            one.state = state;
            verdicts.push(Verdict { node: id.clone(), state, because });
        }
        verdicts
    }

    /// Whether the brake is on, and for how many nodes.
    pub fn braked(&self) -> Option<usize> {
        self.braked.map(|(_, count)| count)
    }

    fn brake(&mut self, now: Duration, beat: Duration) {
        // Who missed two beats: by the time that one is given up, all that went with it have.
        let overdue = |one: &&One| {
            one.state != NodeState::Down && one.away.is_none() && now.saturating_sub(one.heard) >= beat * 2
        };
        let count = self.nodes.values().filter(overdue).count();
        let limit = (self.nodes.len() / 4).max(2);
        match self.braked {
            None if count > limit => self.braked = Some((now, count)),
            None => {}
            Some((since, most)) => {
                if count * 2 <= most || now.saturating_sub(since) >= BRAKE {
                    self.braked = None;
                    // Those that are silent still are given up now, and do not bring it on again.
                    if count * 2 > most {
                        self.condemned.extend(
                            self.nodes.iter().filter(|(_, one)| overdue(one)).map(|(id, _)| id.clone()),
                        );
                    }
                } else {
                    self.braked = Some((since, most.max(count)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> ClusterNodeId {
        ClusterNodeId::from_bits(n << 64)
    }

    fn of(nodes: u128) -> Silence {
        let mut silence = Silence::default();
        for n in 0..nodes {
            silence.watch(id(n), NodeState::Ready, Duration::ZERO);
        }
        silence
    }

    /// Time passes; `beating` beat every second. All verdicts, with their time in ms.
    fn pass(
        silence: &mut Silence,
        from: u64,
        to: u64,
        beating: &[u128],
    ) -> Vec<(u64, ClusterNodeId, NodeState)> {
        let mut seen = Vec::new();
        for at in (from..=to).step_by(250) {
            let now = Duration::from_millis(at);
            if at % 1000 == 0 {
                for n in beating {
                    seen.extend(silence.heard(&id(*n), now).map(|v| (at, v.node, v.state)));
                }
            }
            seen.extend(silence.look(now).into_iter().map(|v| (at, v.node, v.state)));
        }
        seen
    }

    #[test]
    fn a_silent_node_is_unknown_after_three_beats_then_down_and_back_at_its_next_beat() {
        let mut silence = of(3);
        assert_eq!(
            pass(&mut silence, 0, 4000, &[0, 1]),
            [(3000, id(2), NodeState::Unknown), (3500, id(2), NodeState::Down)]
        );
        assert_eq!(pass(&mut silence, 4250, 6000, &[0, 1, 2]), [(5000, id(2), NodeState::Ready)]);
    }

    #[test]
    fn who_says_that_it_restarts_is_waited_for() {
        let mut silence = of(3);
        assert_eq!(silence.goodbye(&id(2), Duration::ZERO).map(|v| v.state), Some(NodeState::Away));
        assert_eq!(pass(&mut silence, 0, 59_750, &[0, 1]), []);
        assert_eq!(pass(&mut silence, 60_000, 61_000, &[0, 1]), [(60_000, id(2), NodeState::Down)]);
    }

    #[test]
    fn a_manager_that_slept_counts_from_zero() {
        let mut silence = of(3);
        assert_eq!(pass(&mut silence, 0, 1000, &[0, 1, 2]), []);
        // Ten seconds later it wakes: nobody beat, since it did not listen.
        assert_eq!(pass(&mut silence, 11_000, 13_750, &[]), []);
    }

    #[test]
    fn much_of_the_cluster_at_once_becomes_unknown_but_not_down_until_a_minute_has_passed() {
        let mut silence = of(8);
        let seen = pass(&mut silence, 0, 30_000, &[0, 1, 2, 3]);
        assert!(seen.iter().all(|(_, _, state)| *state == NodeState::Unknown), "{seen:?}");
        assert_eq!(seen.len(), 4);
        let seen = pass(&mut silence, 30_250, 63_000, &[0, 1, 2, 3]);
        assert_eq!(seen.iter().filter(|(_, _, state)| *state == NodeState::Down).count(), 4, "{seen:?}");
    }

    #[test]
    fn the_brake_ends_when_half_are_back() {
        let mut silence = of(8);
        pass(&mut silence, 0, 10_000, &[0, 1, 2, 3]);
        assert_eq!(silence.braked(), Some(4));
        let seen = pass(&mut silence, 10_250, 16_000, &[0, 1, 2, 3, 4, 5]);
        let down: Vec<_> = seen.iter().filter(|(_, _, s)| *s == NodeState::Down).map(|(_, n, _)| n).collect();
        assert_eq!(down, [&id(6), &id(7)]);
    }

    #[test]
    fn what_people_say_is_down_is_down_at_once_if_it_is_silent() {
        let mut silence = of(8);
        pass(&mut silence, 0, 10_000, &[0, 1, 2, 3]);
        silence.condemn(id(7));
        silence.condemn(id(0));
        let seen = silence.look(Duration::from_millis(10_250));
        assert_eq!(seen.iter().map(|v| (&v.node, v.state)).collect::<Vec<_>>(), [(&id(7), NodeState::Down)]);
    }

    #[test]
    fn beats_are_rarer_in_a_large_cluster() {
        assert_eq!(beat(3), Duration::from_secs(1));
        assert_eq!(beat(2000), Duration::from_secs(1));
        assert_eq!(beat(10_000), Duration::from_secs(5));
    }
}
