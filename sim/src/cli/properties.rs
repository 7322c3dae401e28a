//! `cargo sim properties`: what is judged, and while what holds.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::judge::Property;

use super::output::{Target, print};

#[derive(Args)]
pub(crate) struct PropertiesArgs {
    /// Writes them as JSON to a file, or to the standard output (`-`) in place of the table
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// Prints the catalogue, and gives the exit code.
pub(crate) fn run(args: &PropertiesArgs) -> u8 {
    if args.json.is_some() {
        let target = match Target::open(args.json.as_deref()) {
            Ok(target) => target,
            Err(code) => return code,
        };
        let properties = Property::ALL.map(|property| {
            json!({
                "id": property.id(),
                "title": property.title(),
                "needs": property.needs(),
                "broken_by": property.broken_by(),
            })
        });
        let document = json!({ "schema": 1, "properties": &properties[..] });
        return target.write_json(0, &document);
    }
    let mut text = String::new();
    for property in Property::ALL {
        let _ = write!(text, "{:<5}{}", property.id(), property.title());
        if !property.needs().is_empty() {
            let _ = write!(text, "; needs {}", property.needs());
        }
        let _ = writeln!(text, "\n     broken by {}", property.broken_by());
    }
    print(&text);
    0
}

pub(crate) const PROPERTIES_HELP: &str = "\
Examples:
  cargo sim properties
  cargo sim properties --json - | jq -r '.properties[].id'

The statements are in docs/SIMULATION.md and at the head of each file in sim/src/invariant.";
