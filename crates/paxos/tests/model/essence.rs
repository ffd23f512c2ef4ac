//! What of a process can matter to anybody, as text that is equal where processes behave alike.

use crate::process::Process;

/// Fields that cannot affect safety, by name: when a leader campaigns or is replaced of its own
/// accord (in the models it campaigns whenever it may), where somebody was found last, and how long
/// things may take, which is the same all the time. To hide too much could make the search miss
/// something, or find what cannot be; so the clock, and what is due when, are not hidden.
const HIDDEN: [&str; 14] = [
    "heartbeat",
    "resend",
    "patience_min",
    "patience_max",
    "seed",
    "heard_at",
    "heard_directly",
    "patience",
    "jitter",
    "own",
    "neighbours",
    "summons",
    "next_hand_over",
    "hint",
];

/// The text of `process`, without the hidden fields.
pub(crate) fn of(process: &Process) -> String {
    strip(&format!("{process:?}"))
}

/// Leaves out every `name: value` whose name is hidden.
fn strip(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(colon) = rest.find(": ") {
        let (head, tail) = rest.split_at(colon);
        let name = head.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1);
        if HIDDEN.contains(&&head[name..]) {
            kept.push_str(&head[..name]);
            rest = &tail[value(tail)..];
        } else {
            kept.push_str(head);
            kept.push_str(": ");
            rest = &tail[2..];
        }
    }
    kept + rest
}

/// The length of the value at the beginning of `text`: up to the next comma or closing bracket.
fn value(text: &str) -> usize {
    let mut depth = 0_i32;
    for (i, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return i,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => return i,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn hidden_fields_are_left_out_with_what_is_in_them() {
    let text = "L { hint: 3, seed: [(1, {2: 3})], followed: B { round: 1 }, own: Some(4) }";
    assert_eq!(strip(text), "L { , , followed: B { round: 1 }, }");
}
