//! What is typed wrongly, before anything is asked of a server.

use crate::instance::Folder;
use crate::process::{run, touchline};

#[tokio::test]
async fn what_is_typed_wrongly_is_told_in_one_line() {
    let folder = Folder::new();
    let cases: [(&[&str], &str); 6] = [
        (&[], "a command is missing"),
        (&["log"], "a command is missing"),
        (&["lgo"], "unrecognized subcommand 'lgo'"),
        (&["log", "proof", "inclusion"], "--position <POSITION>"),
        (&["log", "list", "--limit", "many"], "'many'"),
        (&["projections", "rebuild"], "<NAME|--all>"),
    ];
    for (arguments, words) in cases {
        let ended = run(touchline(folder.path(), arguments)).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert_eq!(ended.output, "", "{arguments:?}");
        assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
        assert!(ended.errors.starts_with("touchline: "), "{ended:?}");
        assert!(ended.errors.contains(words), "{words}: {ended:?}");
        assert!(ended.errors.contains("--help"), "{ended:?}");
    }
}

#[tokio::test]
async fn help_is_printed_where_it_can_be_paged() {
    let folder = Folder::new();
    let ended = run(touchline(folder.path(), &["log", "--help"])).await;
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    assert!(ended.output.contains("Usage: touchline log <COMMAND>"));
}
