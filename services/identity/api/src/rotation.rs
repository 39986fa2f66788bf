//! What stands in a key folder, and when rotating it harms nobody.
//!
//! A key is dropped when there are too many; what it sealed is then dead. When a
//! key stopped sealing is known from the files: the staged key is made anew at
//! each rotation, so the age of the key after the next tells it. Rotating is
//! locked, so that two operators do not rotate at once; reading needs no lock.
use std::fs::File;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use virga_node::clock::Micros;

use crate::keys::{KeyError, KeyRepository, file_error};

/// Time between two rotations at least: by then every process has read the
/// staged key, which it needs after the next rotation (they look every 15 s).
const SETTLE: Duration = Duration::from_secs(60);

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyRole {
    /// Opens; seals after the next rotation.
    Staged,
    /// Seals and opens.
    Primary,
    /// Opens only.
    Secondary,
}

/// A key of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyState {
    /// The name of its file.
    pub number: u64,
    /// What it is good for.
    pub role: KeyRole,
    /// Since when it is that, microseconds since the epoch.
    pub since: Micros,
}

/// Why a folder is not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The keys could not be read or written.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// What a key sealed that would go may still be in use.
    #[error("key {number} would go, and what it sealed may be in use for another {} s", .wait.as_secs())]
    InUse {
        /// The key.
        number: u64,
        /// How long still.
        wait: Duration,
    },
    /// The last rotation was a moment ago.
    #[error("the last rotation was a moment ago: not every process knows its keys for another {} s", .0.as_secs())]
    TooSoon(Duration),
}

impl RotationError {
    /// How long to wait, if that helps.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Keys(_) => None,
            Self::InUse { wait, .. } | Self::TooSoon(wait) => Some(*wait),
        }
    }
}

impl KeyRepository {
    /// The keys of the folder: staged, primary, then older and older ones.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn states(&self) -> Result<Vec<KeyState>, KeyError> {
        let numbers = self.numbers()?;
        let made = |number: u64| -> Result<Micros, KeyError> {
            let path = self.path(number);
            let modified = std::fs::metadata(&path).and_then(|m| m.modified());
            let since = modified.map_err(file_error(&path))?.duration_since(UNIX_EPOCH);
            let micros = since.unwrap_or_default().as_micros();
            Ok(Micros(u64::try_from(micros).unwrap_or(u64::MAX)))
        };
        let staged = numbers.contains(&0).then(|| made(0)).transpose()?;
        let mut states: Vec<KeyState> = Vec::with_capacity(numbers.len());
        if let Some(since) = staged {
            states.push(KeyState {
                number: 0,
                role: KeyRole::Staged,
                since,
            });
        }
        // Newest first. A key became primary when the one after it was staged,
        // and secondary when that one became primary.
        let mut after: Vec<Micros> = staged.into_iter().collect();
        for number in numbers.into_iter().rev().filter(|n| *n != 0) {
            let own = made(number)?;
            let role = match states.iter().any(|s| s.role == KeyRole::Primary) {
                true => KeyRole::Secondary,
                false => KeyRole::Primary,
            };
            let since = match role {
                KeyRole::Secondary => after.len().checked_sub(2).map_or(own, |at| after[at]),
                KeyRole::Primary | KeyRole::Staged => after.last().copied().unwrap_or(own),
            };
            states.push(KeyState { number, role, since });
            after.push(own);
        }
        Ok(states)
    }

    /// Whether the folder may be rotated now: what a key has sealed is of use for
    /// `life`, and no key may go before.
    ///
    /// # Errors
    /// Why not, and for how long.
    pub fn check_rotation(&self, now: Micros, life: Duration) -> Result<(), RotationError> {
        let states = self.states()?;
        // A fresh folder is settled: nobody can have read anything else.
        let fresh = !states.iter().any(|s| s.role == KeyRole::Secondary);
        if let Some(staged) = states.iter().find(|s| s.role == KeyRole::Staged && !fresh) {
            let age = now.since(staged.since);
            if age < SETTLE {
                return Err(RotationError::TooSoon(SETTLE.saturating_sub(age)));
            }
        }
        let surplus = (states.len() + 1).saturating_sub(self.max_active());
        for goes in states.iter().rev().take(surplus) {
            let age = match goes.role {
                KeyRole::Secondary => now.since(goes.since),
                KeyRole::Primary | KeyRole::Staged => Duration::ZERO,
            };
            if age < life {
                let (number, wait) = (goes.number, life.saturating_sub(age));
                return Err(RotationError::InUse { number, wait });
            }
        }
        Ok(())
    }

    /// Keeps others from rotating for as long as the outcome lives.
    pub(crate) fn lock(&self) -> Result<File, KeyError> {
        let path = self.dir().join(".lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(file_error(&path))?;
        file.lock().map_err(file_error(&path))?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const START: Micros = Micros(1_766_400_000_000_000);

    /// Says that the files of these keys were made so many minutes after the start.
    fn made(repository: &KeyRepository, minutes: &[(u64, u32)]) {
        for (number, minute) in minutes {
            let at = Duration::from_micros(START.0) + MINUTE * *minute;
            let file = File::options().append(true).open(repository.path(*number));
            file.unwrap().set_modified(UNIX_EPOCH + at).unwrap();
        }
    }

    fn at(minute: u32) -> Micros {
        START.plus(MINUTE * minute)
    }

    #[test]
    fn roles_and_since_when_they_are_held_are_read_from_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let repository = KeyRepository::new(dir.path(), 4);
        repository.create_if_missing().unwrap();
        made(&repository, &[(0, 0), (1, 0)]);
        let shown = |repository: &KeyRepository| -> Vec<(u64, KeyRole, Micros)> {
            let states = repository.states().unwrap();
            states.into_iter().map(|s| (s.number, s.role, s.since)).collect()
        };
        use KeyRole::{Primary, Secondary, Staged};
        assert_eq!(shown(&repository), [(0, Staged, at(0)), (1, Primary, at(0))]);
        repository.rotate().unwrap();
        made(&repository, &[(0, 10)]);
        let first = [(0, Staged, at(10)), (2, Primary, at(10)), (1, Secondary, at(10))];
        assert_eq!(shown(&repository), first);
        repository.rotate().unwrap();
        made(&repository, &[(0, 30)]);
        let second = [
            (0, Staged, at(30)),
            (3, Primary, at(30)),
            (2, Secondary, at(30)),
            (1, Secondary, at(10)),
        ];
        assert_eq!(shown(&repository), second);
    }

    #[test]
    fn no_key_goes_while_what_it_sealed_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let repository = KeyRepository::new(dir.path(), 3);
        repository.create_if_missing().unwrap();
        made(&repository, &[(0, 0), (1, 0)]);
        let life = MINUTE * 60;
        repository.check_rotation(at(0), life).unwrap();
        repository.rotate().unwrap();
        made(&repository, &[(0, 10)]);
        let soon = repository.check_rotation(Micros(at(10).0 + 1), life).unwrap_err();
        assert!(matches!(soon, RotationError::TooSoon(_)), "{soon}");
        // Key 1 stopped sealing at minute 10.
        let why = repository.check_rotation(at(69), life).unwrap_err();
        assert!(
            matches!(why, RotationError::InUse { number: 1, wait } if wait == MINUTE),
            "{why}"
        );
        repository.check_rotation(at(70), life).unwrap();
        // With two keys the one that seals would go.
        let two = KeyRepository::new(dir.path(), 2);
        assert!(two.check_rotation(at(5000), life).is_err());
    }

    #[test]
    fn rotations_at_once_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let repository = KeyRepository::new(dir.path(), 3);
        repository.create_if_missing().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| repository.rotate().unwrap());
            }
        });
        let numbers: Vec<u64> = repository.states().unwrap().iter().map(|s| s.number).collect();
        assert_eq!(numbers, [0, 9, 8]);
        repository.load().unwrap();
    }
}
