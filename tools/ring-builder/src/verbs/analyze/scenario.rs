//! The scenario file: JSON, checked in full before anything is played.
use std::path::{Path, PathBuf};

use serde_json::Value;
use virga_ring::builder::NewDevice;

use crate::device_text;
use crate::report::VerbError;

/// More than this is no scenario.
const MAX_FILE: u64 = 256 << 20;

/// A scenario whose values are in range.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) part_power: u8,
    pub(super) replicas: f64,
    pub(super) overload: f64,
    pub(super) seed: u64,
    pub(super) rounds: Vec<Vec<Command>>,
}

/// One change.
#[derive(Debug)]
pub(super) enum Command {
    Add(NewDevice),
    Remove(u32),
    SetWeight(u32, f64),
    Save(PathBuf),
}

impl Scenario {
    pub(super) fn read(file: &Path) -> Result<Self, VerbError> {
        let wrong = |why: String| {
            VerbError::usage(
                format!("Invalid scenario {}: {why}", file.display()),
                "virga ring - analyze --help shows a scenario",
            )
        };
        let size = std::fs::metadata(file)
            .map_err(|error| wrong(format!("cannot open it: {error}")))?
            .len();
        if size > MAX_FILE {
            return Err(wrong(format!("{size} bytes is too long")));
        }
        let bytes = std::fs::read(file).map_err(|error| wrong(format!("cannot read it: {error}")))?;
        Self::parse(&bytes).map_err(wrong)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("Invalid JSON: {error}"))?;
        if !value.is_object() {
            return Err("it must be a JSON object, not an array, number or string".into());
        }
        let need = |key: &str| value.get(key).ok_or_else(|| format!("{key} missing"));
        let power = number(need("part_power")?).map_err(|why| format!("part_power: {why}"))?;
        if power.fract() != 0.0 || !(1.0..=32.0).contains(&power) {
            return Err(format!(
                "part_power must be a whole number between 1 and 32, but was {power}"
            ));
        }
        let replicas = number(need("replicas")?).map_err(|why| format!("replicas: {why}"))?;
        if replicas < 1.0 {
            return Err(format!("replicas must be at least 1, but is {replicas}"));
        }
        let overload = number(need("overload")?).map_err(|why| format!("overload: {why}"))?;
        if overload < 0.0 {
            return Err(format!("overload must be non-negative, but is {overload}"));
        }
        let seed = number(need("random_seed")?).map_err(|why| format!("random_seed: {why}"))?;
        let rounds = need("rounds")?.as_array().ok_or("rounds must be an array")?;
        let mut parsed = Vec::new();
        for (at, round) in rounds.iter().enumerate() {
            let commands = round
                .as_array()
                .ok_or_else(|| format!("rounds[{at}] must be an array of commands"))?;
            let mut list = Vec::new();
            for (number, command) in commands.iter().enumerate() {
                list.push(Command::parse(command).map_err(|why| format!("rounds[{at}][{number}]: {why}"))?);
            }
            parsed.push(list);
        }
        Ok(Self {
            part_power: power as u8,
            replicas,
            overload,
            // Any number will do; the same one gives the same ring.
            seed: seed as i64 as u64,
            rounds: parsed,
        })
    }
}

impl Command {
    fn parse(value: &Value) -> Result<Self, String> {
        let words = value
            .as_array()
            .ok_or("a command is an array, such as [\"remove\", 3]")?;
        let name = words
            .first()
            .and_then(Value::as_str)
            .ok_or("a command begins with its name")?;
        let want = |count: usize, form: &str| match words.len() {
            found if found == count => Ok(()),
            found => Err(format!("{name} has {count} items, {form}, but this has {found}")),
        };
        match name {
            "add" => {
                want(3, "[\"add\", \"r1z1-10.0.0.1:6200/sda\", weight]")?;
                let text = words[1].as_str().ok_or("the device must be a string")?;
                let (_, new) =
                    device_text::parse_add(text, weight(&words[2])?).map_err(|error| error.to_string())?;
                Ok(Self::Add(new))
            }
            "remove" => {
                want(2, "[\"remove\", id]")?;
                Ok(Self::Remove(id(&words[1])?))
            }
            "set_weight" => {
                want(3, "[\"set_weight\", id, weight]")?;
                Ok(Self::SetWeight(id(&words[1])?, weight(&words[2])?))
            }
            "save" => {
                want(2, "[\"save\", path]")?;
                let path = words[1].as_str().ok_or("the path must be a string")?;
                Ok(Self::Save(path.into()))
            }
            other => Err(format!(
                "unknown command {other:?}: it should be one of add, remove, set_weight, save"
            )),
        }
    }
}

/// A number, or a string that is one (Swift's tool takes both).
fn number(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    number
        .filter(|number| number.is_finite())
        .ok_or_else(|| format!("{value} is not a number"))
}

fn weight(value: &Value) -> Result<f64, String> {
    match number(value) {
        Ok(weight) if weight >= 0.0 => Ok(weight),
        Ok(weight) => Err(format!("the weight cannot be negative, but is {weight}")),
        Err(why) => Err(format!("weight: {why}")),
    }
}

fn id(value: &Value) -> Result<u32, String> {
    match number(value) {
        Ok(id) if id.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&id) => Ok(id as u32),
        _ => Err(format!("{value} is no device id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_a_scenario_name_the_place() {
        let head = r#""part_power": "12", "replicas": 3, "overload": 0.1, "random_seed": 7"#;
        let rounds = |rounds: &str| format!("{{{head}, \"rounds\": {rounds}}}");
        let good =
            rounds(r#"[[["add", "z1-10.0.0.1:6200/sda", "8000"], ["remove", 0]], [["set_weight", 0, 1]]]"#);
        let scenario = Scenario::parse(good.as_bytes()).unwrap();
        assert_eq!(
            (scenario.part_power, scenario.seed, scenario.rounds.len()),
            (12, 7, 2)
        );
        for (text, place) in [
            ("[1]".to_owned(), "must be a JSON object"),
            ("{".to_owned(), "Invalid JSON"),
            ("{}".to_owned(), "part_power missing"),
            (good.replace("\"12\"", "33"), "part_power must be"),
            (
                good.replace("\"replicas\": 3", "\"replicas\": 0.5"),
                "replicas must be",
            ),
            (good.replace("0.1", "-1"), "overload must be"),
            (rounds("3"), "rounds must be an array"),
            (rounds("[3]"), "rounds[0] must be"),
            (
                rounds(r#"[[], [["remove", 1], ["frob", 1]]]"#),
                "rounds[1][1]: unknown command \"frob\"",
            ),
            (
                rounds(r#"[[["add", "z1-10.0.0.1:6200/sda"]]]"#),
                "rounds[0][0]: add has 3 items",
            ),
            (
                rounds(r#"[[["add", "nonsense", 1]]]"#),
                "rounds[0][0]: Invalid add value",
            ),
            (
                rounds(r#"[[["add", "z1-10.0.0.1:6200/sda", -1]]]"#),
                "cannot be negative",
            ),
            (rounds(r#"[[["remove", 1.5]]]"#), "is no device id"),
            (rounds(r#"[["remove"]]"#), "a command is an array"),
        ] {
            let error = Scenario::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(place), "{text}: {error}");
        }
    }
}
