//! Every way of tampering with an export: each is found, and the position named, with nothing but the
//! file and the key.

use crate::log::Log;
use crate::sealed::{position, sealed_log, seals};
use std::collections::BTreeMap;
use std::io::Write as _;
use touchline_eventstore::LogEvent;
use touchline_eventstore::export::{ExportError, Format, Header, Writer};
use touchline_eventstore::seal::note::{SigningKey, origin};
use touchline_eventstore::seal::verify::export::{ExportReport, VerifyExportError, verify_export};
use touchline_eventstore::seal::{Checkpoint, VerifierKey};
use uuid::Uuid;

/// A log of 1,000 events, sealed at 990, and its key.
struct Source {
    events: Vec<LogEvent>,
    log_id: Uuid,
    note: String,
    key: VerifierKey,
}

impl Source {
    async fn new() -> Self {
        let log: Log = sealed_log(&[500, 990]).await;
        crate::sealed::fill(&log, 1_000, 2).await;
        let log_id = log.store.log_id().await.unwrap();
        Self {
            events: log.events().await,
            log_id,
            note: seals(&log).latest().await.unwrap().unwrap().note,
            key: seals(&log).verifier_key(log_id).await.unwrap().unwrap(),
        }
    }

    /// An export, of the whole log without a filter.
    fn file(&self, format: Format, events: &[LogEvent], filter: Option<&str>) -> Vec<u8> {
        self.sealed_file(format, events, filter, Some(self.note.clone()))
    }

    fn sealed_file(
        &self,
        format: Format,
        events: &[LogEvent],
        filter: Option<&str>,
        note: Option<String>,
    ) -> Vec<u8> {
        let slice = filter.map(|filter| (filter.to_owned(), "x".to_owned()));
        let header = Header::new(
            self.log_id,
            BTreeMap::from_iter(slice),
            position(1_000),
            "2022-12-18T16:00:00Z".parse().unwrap(),
        );
        let mut out = Vec::new();
        let mut writer = Writer::begin(format, header, &mut out).unwrap();
        for event in events {
            writer.event(event, &mut out).unwrap();
        }
        writer.end(note, &mut out).unwrap();
        out
    }

    fn check(&self, file: &[u8]) -> ExportReport {
        check(file, &self.key).unwrap()
    }

    /// What is found in an export of the whole log with these events.
    fn found(&self, format: Format, events: &[LogEvent]) -> Vec<String> {
        texts(&self.check(&self.file(format, events, None)))
    }
}

fn check(file: &[u8], key: &VerifierKey) -> Result<ExportReport, VerifyExportError> {
    let mut on_disk = tempfile::tempfile().unwrap();
    on_disk.write_all(file).unwrap();
    std::io::Seek::rewind(&mut on_disk).unwrap();
    verify_export(on_disk, key, |_| ())
}

fn texts(report: &ExportReport) -> Vec<String> {
    let kept = report.findings.kept();
    kept.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_whole_log_is_shown_to_be_whole_and_a_slice_to_be_untouched() {
    let source = Source::new().await;
    for format in [Format::Ndjson, Format::Csv] {
        let report = source.check(&source.file(format, &source.events, None));
        assert_eq!(texts(&report), [""; 0]);
        assert_eq!(report.extent.events, 1_000);
        assert_eq!(report.complete_up_to(), Some(990));

        let slice: Vec<_> = source.events.iter().skip(3).step_by(3).cloned().collect();
        let report = source.check(&source.file(format, &slice, Some("type")));
        assert_eq!(texts(&report), [""; 0]);
        assert_eq!(report.complete_up_to(), None);

        let unsealed = source.sealed_file(format, &source.events, None, None);
        let report = source.check(&unsealed);
        assert_eq!(texts(&report), [""; 0]);
        assert_eq!(report.complete_up_to(), None);
        let empty = source.check(&source.file(format, &[], Some("type")));
        assert_eq!(texts(&empty), [""; 0]);
    }
}

#[tokio::test]
async fn one_byte_of_one_event_is_found() {
    let source = Source::new().await;
    for format in [Format::Ndjson, Format::Csv] {
        for filter in [None, Some("type")] {
            let file = String::from_utf8(source.file(format, &source.events, filter)).unwrap();
            let id = source.events[336].event_id.to_string();
            let line = file.lines().find(|line| line.contains(&id)).unwrap();
            let changed = file.replacen(line, &line.replacen("Žižkov", "Žiškov", 1), 1);
            assert_eq!(
                texts(&source.check(changed.as_bytes())),
                ["position 337: the stored fields do not give the stored digest"]
            );
            let broken = file.replacen(line, &line.replacen(&id, "no id", 1), 1);
            let found = texts(&source.check(broken.as_bytes()));
            assert!(
                found[0].ends_with("after position 336: no event"),
                "{found:?}"
            );
        }
    }
}

#[tokio::test]
async fn events_that_changed_places_are_found() {
    let source = Source::new().await;
    for format in [Format::Ndjson, Format::Csv] {
        let mut swapped = source.events.clone();
        swapped.swap(336, 400);
        let found = source.found(format, &swapped);
        assert_eq!(found[0], "positions 337 to 400: missing");
        assert!(
            found
                .iter()
                .any(|line| line.ends_with(": position 337 comes after position 400"))
        );

        // With their positions changed as well, so that only the tree can tell.
        for event in [336, 400] {
            swapped[event].position = source.events[event].position;
        }
        let found = source.found(format, &swapped);
        assert!(
            found[0].starts_with("positions 1 to 990: not the events that were sealed"),
            "{found:?}"
        );
        // Their aggregates' numbers give the places away.
        assert_eq!(
            found[1..],
            [
                "position 338: number 2 of its aggregate comes after number 0",
                "position 401: number 1 of its aggregate comes after number 2",
            ]
        );
    }
}

#[tokio::test]
async fn an_event_that_was_exchanged_for_another_is_found() {
    let source = Source::new().await;
    let mut exchanged = source.events.clone();
    exchanged[336].event_version = "2".to_owned();
    exchanged[336].digest = exchanged[336].computed_digest();
    let found = source.found(Format::Ndjson, &exchanged);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("positions 1 to 990: not the events that were sealed"));
}

#[tokio::test]
async fn an_event_that_was_removed_is_found() {
    let source = Source::new().await;
    for format in [Format::Ndjson, Format::Csv] {
        let mut events = source.events.clone();
        events.remove(337);
        assert_eq!(source.found(format, &events), ["position 338: missing"]);
        // Out of the file, with the trailer as it was.
        for filter in [None, Some("type")] {
            let file = String::from_utf8(source.file(format, &source.events, filter)).unwrap();
            let id = source.events[337].event_id.to_string();
            let line = file.lines().find(|line| line.contains(&id)).unwrap();
            let without = file.replacen(&format!("{line}\n"), "", 1);
            let found = texts(&source.check(without.as_bytes()));
            let counted =
                "position 1000: the file has 999 events up to here, and its trailer says otherwise";
            assert!(found.contains(&counted.to_owned()), "{found:?}");
            assert_eq!(
                found.contains(&"position 338: missing".to_owned()),
                filter.is_none()
            );
        }
    }
}

#[tokio::test]
async fn a_tail_that_was_cut_is_found() {
    let source = Source::new().await;
    for format in [Format::Ndjson, Format::Csv] {
        let file = source.file(format, &source.events, None);
        let cut = &file[..file.len() - 2_000];
        let found = texts(&source.check(cut));
        let last = found[0]
            .strip_prefix("the file is cut after position ")
            .unwrap();
        assert!(last.starts_with("99"), "{found:?}");
        // With a trailer that was made to fit.
        assert_eq!(
            source.found(format, &source.events[..995]),
            ["positions 996 to 1000: missing"]
        );
    }
}

#[tokio::test]
async fn a_forged_checkpoint_is_found() {
    let source = Source::new().await;
    let forger = SigningKey::from_seed(&origin(source.log_id), &[3; 32]).unwrap();
    let genuine = source.key.open_checkpoint(&source.note).unwrap();
    let check = |note: String| {
        let file = source.sealed_file(Format::Ndjson, &source.events, None, Some(note));
        source.check(&file)
    };
    let by_another_key = forger.sign(&genuine.text());
    let changed = source.note.replacen("990", "991", 1);
    for note in [by_another_key, changed] {
        let report = check(note);
        assert_eq!(
            texts(&report),
            ["position 1000: the checkpoint that seals the log up to here cannot be believed"]
        );
        assert_eq!(report.complete_up_to(), None);
    }
    // Signed, but over another tree; and of a larger log.
    let check = |checkpoint: &Checkpoint| {
        let note = Some(forger.sign(&checkpoint.text()));
        let file = source.sealed_file(Format::Ndjson, &source.events, None, note);
        texts(&self::check(&file, forger.verifier()).unwrap())
    };
    let root = touchline_eventstore::seal::tree::leaf_hash(b"another tree");
    let other = Checkpoint {
        root,
        ..genuine.clone()
    };
    assert!(check(&other)[0].starts_with("positions 1 to 990: not the events that were sealed"));
    let larger = Checkpoint {
        size: 1_001,
        ..genuine
    };
    assert!(check(&larger)[0].starts_with("position 1000: the file has 1000 events up to here"));
}

#[tokio::test]
async fn what_is_no_export_and_a_key_that_does_not_fit_are_refused() {
    let source = Source::new().await;
    let refused = check(b"hello\n", &source.key);
    assert!(matches!(
        refused,
        Err(VerifyExportError::Export(ExportError::NotAnExport))
    ));
    let file = source.file(Format::Csv, &source.events, None);
    let other = SigningKey::from_seed(&origin(Uuid::from_u128(1)), &[1; 32]).unwrap();
    let refused = check(&file, other.verifier());
    assert!(matches!(refused, Err(VerifyExportError::OtherLog { .. })));
    let opened = source.file(Format::Ndjson, &source.events, Some("personal"));
    let opened = String::from_utf8(opened)
        .unwrap()
        .replacen("\"x\"", "\"opened\"", 1);
    let refused = check(opened.as_bytes(), &source.key);
    assert!(matches!(refused, Err(VerifyExportError::Opened)));
    let mut more = file;
    more.extend_from_slice(b"more\n");
    let found = texts(&check(&more, &source.key).unwrap());
    assert_eq!(
        found,
        ["line 1004, after position 1000: more than an export can have there"]
    );
}
