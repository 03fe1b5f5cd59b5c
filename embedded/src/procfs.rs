//! What `/proc` tells of other processes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// The arguments a process was started with; `None` when it has gone or is a zombie.
pub(crate) fn arguments(pid: u32) -> Option<Vec<OsString>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    if line.is_empty() {
        return None;
    }
    let words = line.split(|&byte| byte == 0);
    Some(
        words
            .filter(|word| !word.is_empty())
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect(),
    )
}

/// Whether the process `pid` runs `program` with `mark` among its arguments.
pub(crate) fn runs(pid: u32, program: &str, mark: &OsStr) -> bool {
    arguments(pid).is_some_and(|words| {
        let is_program = words
            .first()
            .is_some_and(|first| Path::new(first).file_name() == Some(OsStr::new(program)));
        is_program && words.iter().skip(1).any(|word| word == mark)
    })
}

/// The processes that run `program` with `mark` among their arguments.
pub(crate) fn find(program: &str, mark: &OsStr) -> Vec<u32> {
    all()
        .into_iter()
        .filter(|&pid| runs(pid, program, mark))
        .collect()
}

/// The children of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    all()
        .into_iter()
        .filter(|&pid| parent_of(pid) == Some(parent))
        .collect()
}

/// The parent of a process: the second field after its name, which stands in parentheses and may
/// itself contain any character (proc(5), `/proc/pid/stat`).
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_by_its_parent_and_by_its_argument() {
        let mut child = std::process::Command::new("sleep")
            .args(["60"])
            .spawn()
            .unwrap();
        // A process that is just being loaded has no arguments yet.
        while arguments(child.id()).is_none() {
            std::thread::yield_now();
        }
        assert!(children(std::process::id()).contains(&child.id()));
        assert!(runs(child.id(), "sleep", OsStr::new("60")));
        assert!(!runs(child.id(), "sleep", OsStr::new("61")));
        assert!(!runs(child.id(), "postgres", OsStr::new("60")));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(arguments(child.id()), None);
    }
}
