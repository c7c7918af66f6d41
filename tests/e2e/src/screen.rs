//! Progress for a person at a terminal, and for a log file.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::follow::{Followed, Row};

/// Writes to standard output: lines with the time since the start, and a table that is drawn over
/// and over on a terminal. In a file each change of a row is a line of its own.
#[derive(Debug)]
pub struct Screen {
    started: Instant,
    terminal: bool,
    /// Lines of the table that is on the terminal now.
    drawn: usize,
    shown: BTreeMap<String, String>,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            terminal: io::stdout().is_terminal(),
            drawn: 0,
            shown: BTreeMap::new(),
        }
    }
}

impl Screen {
    /// A line with the time since the start.
    pub fn step(&self, text: &str) {
        self.text(&format!(
            "{:>7.1} s  {text}",
            self.started.elapsed().as_secs_f64()
        ));
    }

    /// A line, or several, as they are.
    pub fn text(&self, text: &str) {
        // Nobody is left to read it if this fails.
        writeln!(io::stdout(), "{text}").ok();
    }

    /// The state of a Backup, Restore or Migrate.
    pub fn progress<O>(&mut self, state: &Followed<O>) {
        if self.terminal {
            self.redraw(&table(state));
            return;
        }
        for (name, row) in &state.rows {
            let line = cells(name, row, state.started);
            // The running time alone is no news.
            let news = format!("{}{}{}", line.phase, line.items, line.shown);
            if self.shown.get(name) != Some(&news) {
                self.step(&line.render(name.len()));
                self.shown.insert(name.clone(), news);
            }
        }
    }

    /// Leaves the table as it is; what follows comes below.
    pub fn end_progress(&mut self) {
        self.drawn = 0;
        self.shown.clear();
    }

    fn redraw(&mut self, lines: &[String]) {
        let mut out = io::stdout().lock();
        if self.drawn > 0 {
            // Up to the first line of the table, and clear from there.
            write!(out, "\x1b[{}A\x1b[J", self.drawn).ok();
        }
        for line in lines {
            writeln!(out, "{line}").ok();
        }
        out.flush().ok();
        self.drawn = lines.len();
    }
}

struct Cells {
    cluster: String,
    phase: String,
    items: String,
    done: String,
    shown: String,
}

impl Cells {
    fn render(&self, width: usize) -> String {
        let Self {
            cluster,
            phase,
            items,
            done,
            shown,
        } = self;
        format!("{cluster:width$}  {phase:<34}  {items:>7}  {done:>12}  {shown}")
            .trim_end()
            .to_owned()
    }
}

/// The table of a Backup, Restore or Migrate, one line an item.
pub fn table<O>(state: &Followed<O>) -> Vec<String> {
    let width = state
        .rows
        .keys()
        .map(String::len)
        .chain([7])
        .max()
        .unwrap_or_default();
    let head = Cells {
        cluster: "CLUSTER".to_owned(),
        phase: "PHASE".to_owned(),
        items: "ITEMS".to_owned(),
        done: "VELERO DONE".to_owned(),
        shown: "SHOWN ON THE HUB".to_owned(),
    };
    let rows = state
        .rows
        .iter()
        .map(|(name, row)| cells(name, row, state.started).render(width));
    std::iter::once(head.render(width)).chain(rows).collect()
}

fn cells(name: &str, row: &Row, started: Instant) -> Cells {
    let entry = &row.entry;
    let phase = match &entry.reason {
        Some(reason) => format!("{} ({reason})", entry.phase.as_str()),
        None => entry.phase.as_str().to_owned(),
    };
    let items = entry.items.map(|(done, total)| format!("{done}/{total}"));
    let done = match row.done {
        Some(done) => format!(
            "{:.2} s",
            done.saturating_duration_since(started).as_secs_f64()
        ),
        None => format!("({:.0} s)", started.elapsed().as_secs_f64()),
    };
    Cells {
        cluster: name.to_owned(),
        phase,
        items: items.unwrap_or_default(),
        done,
        shown: row.lag().map(after).unwrap_or_default(),
    }
}

/// A time after something, with as many digits as it deserves.
pub fn after(lag: Duration) -> String {
    if lag < Duration::from_secs(1) {
        format!("{} ms later", lag.as_millis())
    } else {
        format!("{:.2} s later", lag.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use api_types::backup::{Backup, BackupSpec};
    use api_types::phase::EntryPhase;

    use super::*;

    fn row(phase: EntryPhase, reason: Option<&str>) -> Row {
        let mut row = Row::default();
        row.entry.phase = phase;
        row.entry.reason = reason.map(str::to_owned);
        row
    }

    #[test]
    fn the_table_shows_phase_reason_items_and_times() {
        let started = Instant::now();
        let mut done = row(EntryPhase::Completed, None);
        done.entry.items = Some((3, 3));
        done.done = Some(started + Duration::from_millis(1900));
        done.shown = Some(started + Duration::from_millis(1914));
        let waiting = row(EntryPhase::Pending, Some("Queued"));
        let state = Followed {
            started,
            operation: Backup::new("select-labels", BackupSpec::default()),
            rows: [("one".to_owned(), done), ("two".to_owned(), waiting)].into(),
        };

        let lines = table(&state);
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert!(lines[0].starts_with("CLUSTER  PHASE"));
        assert_eq!(
            words(&lines[1]),
            ["one", "Completed", "3/3", "1.90", "s", "14", "ms", "later"]
        );
        assert_eq!(words(&lines[2])[..3], ["two", "Pending", "(Queued)"]);
    }

    #[test]
    fn what_the_hub_shows_before_we_see_it_in_the_member_took_no_time() {
        let now = Instant::now();
        let mut early = row(EntryPhase::Completed, None);
        assert_eq!(early.lag(), None);
        early.shown = Some(now);
        early.done = Some(now + Duration::from_millis(5));
        assert_eq!(early.lag(), Some(Duration::ZERO));
    }
}
