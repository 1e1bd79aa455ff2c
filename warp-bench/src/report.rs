//! What was measured, as tables for people and as JSON for programs. One set of cells feeds both.

use std::io;
use std::path::Path;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table as TextTable};
use serde::Serialize;
use warp_io::{Dir, OsDir, write_all_at};

use crate::machine::Machine;

/// One cell: a text, or a number that was measured, with its unit.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Text(String),
    Number {
        value: f64,
        unit: &'static str,
    },
    /// Not measured in this run.
    Absent(()),
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    /// A number, or an absent cell for one that is not finite.
    pub(crate) fn number(value: f64, unit: &'static str) -> Cell {
        if value.is_finite() { Cell::Number { value, unit } } else { Cell::Absent(()) }
    }

    pub(crate) fn count(value: u64) -> Cell {
        Cell::number(value as f64, "")
    }

    pub(crate) fn rate(per_second: f64) -> Cell {
        Cell::number(per_second, "/s")
    }

    pub(crate) fn bytes(value: u64) -> Cell {
        Cell::number(value as f64, "B")
    }

    /// A time, which cells hold in microseconds.
    pub(crate) fn time(value: std::time::Duration) -> Cell {
        Cell::number(value.as_secs_f64() * 1e6, "us")
    }

    pub(crate) fn ratio(value: f64) -> Cell {
        Cell::number(value, "x")
    }

    /// A share in `0.0..=1.0`, shown in percent.
    pub(crate) fn share(value: f64) -> Cell {
        Cell::number(value * 100.0, "%")
    }

    fn shown(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Absent(()) => "-".to_owned(),
            Cell::Number { value, unit: "B" } => in_units(*value, 1024.0, &["B", "KiB", "MiB", "GiB"]),
            Cell::Number { value, unit: "us" } => in_units(*value, 1000.0, &["us", "ms", "s"]),
            Cell::Number { value, unit: "x" } => format!("{value:.2} x"),
            // Of a small share the first digits, down to one in ten million.
            Cell::Number { value, unit: "%" } if *value > 0.0 && *value < 0.1 => format!("{value:.5} %"),
            Cell::Number { value, unit: "%" } => format!("{value:.1} %"),
            Cell::Number { value, unit } => format!("{}{unit}", grouped(*value)),
        }
    }
}

/// A number in the largest unit that leaves it at 1 or above.
fn in_units(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut place = 0;
    while value.abs() >= step && place + 1 < units.len() {
        value /= step;
        place += 1;
    }
    let digits = if value.abs() >= 100.0 || value.fract() == 0.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {}", units[place])
}

/// A number with commas between groups of three digits, and decimals only where it is small.
pub(crate) fn grouped(value: f64) -> String {
    if value.abs() < 100.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A table of the report.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// What the reader must know to read the table rightly.
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, columns: &[&str]) -> Table {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        Table { title: title.into(), columns, rows: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a row of {:?} has a cell a column", self.title);
        self.rows.push(cells);
    }

    /// Adds a row that took long to measure, and says it on standard error at once: who ends a run early has it.
    pub(crate) fn row_now(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.row(cells);
        let row = self.rows.last().into_iter().flatten();
        let pairs =
            self.columns.iter().zip(row).map(|(name, cell)| format!("{}: {}", name.trim(), cell.shown()));
        eprintln!("          {}", pairs.collect::<Vec<_>>().join("; "));
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Prints the table on standard output.
    pub(crate) fn print(&self) {
        let mut text = TextTable::new();
        text.load_style(UTF8_FULL_CONDENSED).set_header(&self.columns);
        for row in &self.rows {
            text.add_row(row.iter().map(|cell| {
                let side =
                    if matches!(cell, Cell::Text(_)) { CellAlignment::Left } else { CellAlignment::Right };
                comfy_table::Cell::new(cell.shown()).set_alignment(side)
            }));
        }
        println!("\n{}\n{text}", self.title);
        for note in &self.notes {
            println!("  {note}");
        }
    }
}

/// Something that must hold, and whether it did.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) holds: bool,
    /// What was counted, and the first thing that was wrong.
    pub(crate) detail: String,
}

/// The settings of the run.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) quick: bool,
    pub(crate) threads: usize,
    pub(crate) engine: String,
    pub(crate) data: String,
}

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    settings: Settings,
    tables: Vec<Table>,
    checks: Vec<Check>,
}

impl Report {
    /// Starts the report, and prints what it was measured on.
    pub(crate) fn new(machine: Machine, settings: Settings) -> Report {
        let report = Report { machine, settings, tables: Vec::new(), checks: Vec::new() };
        report.print_head();
        report
    }

    fn print_head(&self) {
        let Machine { cpu, cores, memory_bytes, kernel, file_system, commit, rustc, profile } = &self.machine;
        let memory = memory_bytes.map_or(Cell::Absent(()), Cell::bytes).shown();
        println!("machine   {cpu}, {cores} cores, {memory}; Linux {kernel}; data on {file_system}");
        println!("build     commit {commit}, {rustc}, profile {profile}");
        let Settings { seed, quick, threads, engine, data } = &self.settings;
        let length = if *quick { "quick" } else { "full" };
        println!("settings  {length} run, seed {seed}, {threads} client threads");
        println!("engine    {engine}");
        println!("data      {data}");
        if cfg!(debug_assertions) {
            println!("NOT OPTIMIZED: run with --release; the times below say nothing about the engine");
        }
    }

    /// Prints a table and keeps it.
    pub(crate) fn table(&mut self, table: Table) {
        table.print();
        self.tables.push(table);
    }

    /// Prints the outcome of a check and keeps it.
    pub(crate) fn check(&mut self, what: impl Into<String>, holds: bool, detail: impl Into<String>) {
        let check = Check { what: what.into(), holds, detail: detail.into() };
        println!("  {} {}: {}", if holds { "ok  " } else { "FAIL" }, check.what, check.detail);
        self.checks.push(check);
    }

    /// Whether every check held.
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// How many checks were made.
    pub(crate) fn checks(&self) -> usize {
        self.checks.len()
    }

    /// Writes the report, says where, and whether every check held.
    ///
    /// # Errors
    /// Those of [`write`](Report::write).
    pub(crate) fn finish(&self, path: &Path) -> io::Result<bool> {
        self.write(path)?;
        println!("\nReport: {}", path.display());
        Ok(self.holds())
    }

    /// Writes the report as JSON, in place of an earlier one of that name.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let dir = OsDir::open(parent.unwrap_or(Path::new(".")), false)?;
        let text = serde_json::to_vec_pretty(self)?;
        let temporary = format!("{name}.tmp");
        match dir.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        write_all_at(&*dir.create_new(&temporary)?, 0, &text)?;
        dir.rename(&temporary, name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_are_shown_with_their_units() {
        assert_eq!(Cell::rate(1_234_567.8).shown(), "1,234,568/s");
        assert_eq!(Cell::rate(999.0).shown(), "999/s");
        assert_eq!(Cell::count(0).shown(), "0");
        assert_eq!(Cell::bytes(1536).shown(), "1.50 KiB");
        assert_eq!(Cell::bytes(17).shown(), "17 B");
        assert_eq!(Cell::time(Duration::from_nanos(850)).shown(), "0.85 us");
        assert_eq!(Cell::time(Duration::from_millis(1500)).shown(), "1.50 s");
        assert_eq!(Cell::share(0.855).shown(), "85.5 %");
        assert_eq!(Cell::share(1e-7).shown(), "0.00001 %");
        assert_eq!(Cell::ratio(f64::NAN).shown(), "-");
    }

    #[test]
    fn the_file_holds_what_was_measured_and_replaces_an_earlier_one() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("report.json");
        let settings = Settings {
            seed: 9,
            quick: true,
            threads: 2,
            engine: "default".to_owned(),
            data: "none".to_owned(),
        };
        let mut report = Report::new(Machine::look(scratch.path()), settings);
        report.write(&path).unwrap();
        let mut table = Table::new("a table", &["what", "rate"]);
        table.row([Cell::text("get"), Cell::rate(12.5)]);
        report.table(table);
        report.check("a check", false, "it did not hold");
        report.write(&path).unwrap();

        let dir = OsDir::open(scratch.path(), false).unwrap();
        assert_eq!(dir.list().unwrap(), ["report.json"]);
        let read: serde_json::Value =
            serde_json::from_slice(&dir.open("report.json", false).unwrap().map().unwrap()).unwrap();
        assert_eq!(read["settings"]["seed"], 9);
        assert_eq!(read["tables"][0]["rows"][0][1]["value"], 12.5);
        assert_eq!(read["checks"][0]["holds"], false);
        assert!(!report.holds());
    }
}
