//! Carries out steps that wait for each other: what can go side by side does, within a bound.
//!
//! A failed step stops what depends on it, and nothing else. Makes no choice: the plan made them.

use crate::cli::{Failure, Outcome};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// As many steps are worked on at once, where the user sets no other bound.
pub(crate) const AT_ONCE: usize = 50;

/// Where a step is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// So many steps are to come before it.
    Waits(usize),
    /// It can be taken, or was.
    Taken,
    /// What it needs failed.
    Skipped,
}

struct State {
    ready: VecDeque<usize>,
    stages: Vec<Stage>,
    open: usize,
    failures: Vec<Failure>,
}

/// Does `work` for the steps `0..after.len()`, each after those that `after` names for it.
pub(crate) fn run(after: &[Vec<usize>], at_once: usize, work: impl Fn(usize) -> Outcome + Sync) -> Outcome {
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); after.len()];
    for (step, before) in after.iter().enumerate() {
        for &earlier in before {
            next[earlier].push(step);
        }
    }
    let state = State {
        ready: (0..after.len()).filter(|&step| after[step].is_empty()).collect(),
        stages: after
            .iter()
            .map(|before| if before.is_empty() { Stage::Taken } else { Stage::Waits(before.len()) })
            .collect(),
        open: after.len(),
        failures: Vec::new(),
    };
    let shared = (Mutex::new(state), Condvar::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, after.len().max(1)) {
            scope.spawn(|| {
                while let Some(step) = take(&shared) {
                    let outcome = work(step);
                    ended(&shared, step, outcome, &next);
                }
            });
        }
    });
    let state = shared.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    together(state.failures)
}

fn lock(shared: &(Mutex<State>, Condvar)) -> MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next step that can be done; `None` when there will be none.
fn take(shared: &(Mutex<State>, Condvar)) -> Option<usize> {
    let mut state = lock(shared);
    loop {
        if let Some(step) = state.ready.pop_front() {
            return Some(step);
        }
        if state.open == 0 {
            return None;
        }
        state = shared.1.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn ended(shared: &(Mutex<State>, Condvar), step: usize, outcome: Outcome, next: &[Vec<usize>]) {
    let mut state = lock(shared);
    state.open -= 1;
    match outcome {
        Ok(()) => {
            for &later in &next[step] {
                match state.stages[later] {
                    Stage::Waits(1) => {
                        state.stages[later] = Stage::Taken;
                        state.ready.push_back(later);
                    }
                    Stage::Waits(more) => state.stages[later] = Stage::Waits(more - 1),
                    Stage::Taken | Stage::Skipped => {}
                }
            }
        }
        Err(failure) => {
            state.failures.push(failure);
            let mut lost = next[step].clone();
            while let Some(later) = lost.pop() {
                if state.stages[later] != Stage::Skipped {
                    state.stages[later] = Stage::Skipped;
                    state.open -= 1;
                    lost.extend_from_slice(&next[later]);
                }
            }
        }
    }
    shared.1.notify_all();
}

/// Several failures as one: each sentence once, the code of the first.
fn together(failures: Vec<Failure>) -> Outcome {
    let Some(code) = failures.first().map(|failure| failure.code) else { return Ok(()) };
    let mut texts: Vec<String> = Vec::new();
    for failure in failures {
        if !failure.text.is_empty() && !texts.contains(&failure.text) {
            texts.push(failure.text);
        }
    }
    Err(Failure { code, text: texts.join("\n") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn order(after: &[Vec<usize>], at_once: usize, broken: &[usize]) -> (Vec<usize>, Outcome) {
        let done = Mutex::new(Vec::new());
        let outcome = run(after, at_once, |step| {
            done.lock().unwrap().push(step);
            if broken.contains(&step) { Err(Failure::new(format!("step {step} broke"))) } else { Ok(()) }
        });
        (done.into_inner().unwrap(), outcome)
    }

    #[test]
    fn steps_come_after_what_they_need() {
        let (done, outcome) = order(&[vec![2], vec![0, 2], vec![]], 3, &[]);
        assert_eq!((done, outcome.is_ok()), (vec![2, 0, 1], true));
        assert!(order(&[], 3, &[]).1.is_ok());
    }

    #[test]
    fn what_is_independent_goes_side_by_side() {
        let barrier = Barrier::new(3);
        run(&[vec![], vec![], vec![]], 3, |_| {
            barrier.wait();
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_failure_stops_what_depends_on_it_and_nothing_else() {
        // 0 fails; 1 needs it, 2 needs 1; 3 stands alone, 4 needs both.
        let (mut done, outcome) = order(&[vec![], vec![0], vec![1], vec![], vec![3, 0]], 2, &[0]);
        done.sort_unstable();
        assert_eq!((done, outcome.unwrap_err().text.as_str()), (vec![0, 3], "step 0 broke"));
    }
}
