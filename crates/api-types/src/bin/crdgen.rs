//! Writes `deploy/crds/*.yaml`. With `--check` it writes nothing and fails when one is stale.

use std::error::Error;
use std::path::Path;

use api_types::schema;

fn main() -> Result<(), Box<dyn Error>> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            return Err(format!("{other:?} is not known: crdgen takes --check or nothing").into());
        }
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let mut stale = Vec::new();
    for crd in schema::all()? {
        let (name, wanted) = (schema::file_name(&crd), schema::render(&crd)?);
        let file = folder.join(&name);
        if std::fs::read_to_string(&file).is_ok_and(|found| found == wanted) {
            continue;
        }
        if !check {
            std::fs::create_dir_all(&folder)?;
            std::fs::write(&file, wanted)?;
        }
        stale.push(name);
    }
    match (stale.is_empty(), check) {
        (true, _) => eprintln!("deploy/crds is up to date"),
        (false, false) => eprintln!("written: {}", stale.join(", ")),
        (false, true) => {
            return Err(format!(
                "stale: {}; run `cargo run -p api-types --bin crdgen`",
                stale.join(", ")
            )
            .into());
        }
    }
    Ok(())
}
