//! The page behind `--trace FILE.html`: one run, of `synod run` or `synod sim`, drawn as a
//! space-time diagram.
//!
//! A [`Trace`] is what a recorder collects while the roles exchange their messages;
//! [`Trace::to_html`] puts it into `page.html`, a single file that needs no network and no other
//! file. All drawing happens there. This side only has to keep two promises: nothing in a message
//! can become markup, and a run of 50,000 messages stays a file that a browser opens at once.

use serde::{Serialize, Serializer, ser::SerializeTuple};

/// The page around the data. It holds each of the two places below at least once.
const PAGE: &str = include_str!("page.html");
/// Where the title goes, as text of an element.
const TITLE: &str = "<!--TITLE-->";
/// Where the run goes, as JSON in a `<script type="application/json">`.
const TRACE: &str = "<!--TRACE-->";

/// One run as a space-time diagram: who sent what to whom, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Trace {
    /// What the run was, in a few words; the page's heading.
    pub(crate) title: String,
    /// One column each. Messages and marks point into this list.
    pub(crate) processes: Vec<Process>,
    /// In any order; the page sorts them by the time they were sent.
    pub(crate) messages: Vec<Arrow>,
    /// In any order, too.
    pub(crate) marks: Vec<Mark>,
    /// How many messages were left out because the recorder had reached its limit.
    pub(crate) dropped: usize,
    /// What went wrong, if anything did: the page begins where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) violation: Option<String>,
    /// Of a run whose states were recorded too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Memory>,
}

/// What processes remembered, as changes from turn to turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// The variables, by role and name. Changes point into this list.
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    /// The values, each of them once. Changes point into this list.
    pub(crate) values: Vec<String>,
    /// Commands, by client and number. Messages point into this list.
    pub(crate) commands: Vec<String>,
    /// In the order of time. The first turns of a process may sum up what was left out.
    pub(crate) turns: Vec<Turn>,
}

/// A process looked at what had arrived, and remembers this differently since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Which: an index into [`Trace::processes`].
    pub(crate) process: usize,
    /// Microseconds since the start of the run.
    pub(crate) at: u64,
    /// It has crashed: all that it remembered is gone.
    pub(crate) forgets: bool,
    pub(crate) changes: Vec<Change>,
}

/// A variable, the slot if it is one place of a map, and the value, or none any more.
pub(crate) type Change = (usize, Option<u64>, Option<usize>);

/// A column of the diagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// As a reader would say it: `replica 1`.
    pub(crate) name: String,
    /// `client`, `replica`, `leader`, `acceptor` or `node` (several roles in one process). Columns
    /// of one role stand together.
    pub(crate) role: &'static str,
}

/// A message, from the moment it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrow {
    /// The sender: an index into [`Trace::processes`].
    pub(crate) from: usize,
    /// The addressee: an index into [`Trace::processes`].
    pub(crate) to: usize,
    /// Microseconds since the start of the run.
    pub(crate) sent: u64,
    /// Microseconds since the start of the run; `None` if the message was lost.
    pub(crate) received: Option<u64>,
    /// The paper's name of the message: `p1a`, `decision`, ... It decides the colour.
    pub(crate) kind: &'static str,
    /// The whole message in the paper's notation: `p2a <0.3, 1, c1#1 x>`.
    pub(crate) text: String,
    /// The ballot it speaks of, if any: `1.4.1`.
    pub(crate) ballot: Option<String>,
    /// The slot it speaks of, if any.
    pub(crate) slot: Option<u64>,
    /// What else is known, if states were recorded.
    pub(crate) context: Option<Context>,
}

/// What a message has to do with states and commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Context {
    /// The turn in which it was sent: an index into [`Memory::turns`].
    pub(crate) sent: Option<usize>,
    /// The turn in which its receiver looked at it.
    pub(crate) received: Option<usize>,
    /// The commands that it carries: indices into [`Memory::commands`].
    pub(crate) commands: Vec<usize>,
    /// Why it was lost; if it was not, and has not been received, it was on its way at the end.
    pub(crate) lost: Option<&'static str>,
}

/// Something that happened, other than a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Microseconds since the start of the run.
    pub(crate) at: u64,
    /// Where: an index into [`Trace::processes`], or `None` for a line across the whole diagram.
    pub(crate) process: Option<usize>,
    /// `crash`, `restart`, `refused`, `partition`, `heal`, `reconfigure`, `effective`, `decided`,
    /// `adopted`, `preempted`, `snapshot`, `fault` and `violation` have a sign of their own.
    /// Between `crash` and the next `restart` the process counts as down.
    pub(crate) kind: &'static str,
    /// What to say about it.
    pub(crate) text: String,
    /// When it is over, if it lasts.
    pub(crate) until: Option<u64>,
}

// In the page these are rows, not objects: field names, repeated 50,000 times, would be a third
// of it.

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.name, self.role).serialize(serializer)
    }
}

impl Serialize for Arrow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { from, to, sent, received, kind, text, ballot, slot, context } = self;
        let mut row = serializer.serialize_tuple(if context.is_some() { 12 } else { 8 })?;
        row.serialize_element(from)?;
        row.serialize_element(to)?;
        row.serialize_element(sent)?;
        row.serialize_element(received)?;
        row.serialize_element(kind)?;
        row.serialize_element(text)?;
        row.serialize_element(ballot)?;
        row.serialize_element(slot)?;
        if let Some(Context { sent, received, commands, lost }) = context {
            row.serialize_element(sent)?;
            row.serialize_element(received)?;
            row.serialize_element(commands)?;
            row.serialize_element(lost)?;
        }
        row.end()
    }
}

impl Serialize for Mark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { at, process, kind, text, until } = self;
        match until {
            None => (at, process, kind, text).serialize(serializer),
            Some(until) => (at, process, kind, text, until).serialize(serializer),
        }
    }
}

impl Serialize for Turn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { process, at, forgets, changes } = self;
        (process, at, u8::from(*forgets), changes).serialize(serializer)
    }
}

impl Trace {
    /// The whole page: a file that a browser opens by itself, offline.
    pub(crate) fn to_html(&self) -> String {
        let title = escape_markup(&self.title);
        let json = escape_script(&self.to_json());
        let (before, after) = PAGE.split_once(TRACE).expect("page.html has a place for the run");
        // The title goes into the page's own text only: the data may well contain its marker.
        [&before.replace(TITLE, &title), json.as_str(), &after.replace(TITLE, &title)].concat()
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always have a JSON form")
    }
}

/// Text for the inside of an HTML element.
fn escape_markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// JSON for the inside of a `<script>`. In JSON these characters occur within strings only, where
/// an escape means the same: so no `</script>` or `<!--` can appear, nor a line separator that
/// older JavaScript refuses.
fn escape_script(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len() + json.len() / 8);
    for character in json.chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str, role: &'static str) -> Process {
        Process { name: name.to_owned(), role }
    }

    fn p2a(sent: u64, text: &str) -> Arrow {
        Arrow {
            from: 0,
            to: 1,
            sent,
            received: Some(sent + 120),
            kind: "p2a",
            text: text.to_owned(),
            ballot: Some("1.4.1".to_owned()),
            slot: Some(7),
            context: None,
        }
    }

    fn trace(messages: Vec<Arrow>) -> Trace {
        Trace {
            title: "three acceptors".to_owned(),
            processes: vec![process("leader 1", "leader"), process("acceptor 1", "acceptor")],
            messages,
            marks: Vec::new(),
            ..Trace::default()
        }
    }

    /// What a browser would hand to `JSON.parse`: everything up to the first end tag.
    fn data(page: &str) -> &str {
        let (_, rest) = page.split_once("id=\"trace\">").expect("a data block");
        rest.split_once("</script").expect("an end of the data block").0
    }

    #[test]
    fn a_message_becomes_a_row() {
        let lost = Arrow { received: None, ballot: None, slot: None, ..p2a(5, "ping") };
        let page = trace(vec![p2a(10, "p2a <1.4.1, 7, x>"), lost]).to_html();
        assert_eq!(
            data(&page),
            "{\"title\":\"three acceptors\",\
             \"processes\":[[\"leader 1\",\"leader\"],[\"acceptor 1\",\"acceptor\"]],\
             \"messages\":[[0,1,10,130,\"p2a\",\"p2a \\u003c1.4.1, 7, x>\",\"1.4.1\",7],\
             [0,1,5,null,\"p2a\",\"ping\",null,null]],\"marks\":[],\"dropped\":0}"
        );
    }

    #[test]
    fn a_mark_becomes_a_row() {
        let mut trace = trace(Vec::new());
        trace.dropped = 3;
        trace.marks = vec![
            Mark {
                at: 9,
                process: Some(1),
                kind: "crash",
                text: "kill -9".to_owned(),
                until: None,
            },
            Mark {
                at: 12,
                process: None,
                kind: "partition",
                text: "1 | 2 3".to_owned(),
                until: Some(40),
            },
        ];
        let page = trace.to_html();
        assert!(data(&page).ends_with(
            "\"marks\":[[9,1,\"crash\",\"kill -9\"],[12,null,\"partition\",\"1 | 2 3\",40]],\
             \"dropped\":3}"
        ));
    }

    #[test]
    fn a_message_cannot_break_out_of_the_data() {
        let evil =
            "</script><script>alert(1)</script><!-- <!--TITLE--> <!--TRACE--> \u{2028}\u{2029}";
        let page = trace(vec![p2a(0, evil)]).to_html();
        let scripts = |text: &str| text.matches("<script").count();
        assert_eq!(scripts(&page), scripts(PAGE), "a message added a script");
        assert!(!data(&page).contains(['<', '\u{2028}', '\u{2029}']));
        let parsed: serde_json::Value = serde_json::from_str(data(&page)).expect("still JSON");
        assert_eq!(parsed["messages"][0][5], evil, "the text survives, letter by letter");
    }

    #[test]
    fn a_title_is_text_not_markup() {
        let mut trace = trace(Vec::new());
        trace.title = "a < b & <script>alert(1)</script> \"<!--TRACE-->\"".to_owned();
        let page = trace.to_html();
        assert!(page.contains("<title>a &lt; b &amp; &lt;script&gt;alert(1)&lt;/script&gt;"));
        assert_eq!(page.matches("<script").count(), PAGE.matches("<script").count());
        let parsed: serde_json::Value = serde_json::from_str(data(&page)).expect("still JSON");
        assert_eq!(parsed["title"], trace.title);
    }

    #[test]
    fn a_run_without_messages_still_makes_a_page() {
        let page = Trace::default().to_html();
        assert!(page.starts_with("<!doctype html>"));
        assert!(page.trim_end().ends_with("</html>"));
        assert!(data(&page).contains("\"messages\":[]"));
        assert!(!page.contains(TITLE) && !page.contains(TRACE), "a place was left unfilled");
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for needle in ["http://", "https://", "src=", "@import", "url(", "<link"] {
            assert!(!PAGE.contains(needle), "page.html contains {needle}");
        }
    }

    #[test]
    fn fifty_thousand_messages_stay_a_small_file() {
        let text = "p2a <1.4.1, 7, client 3 #12 put(\"key\", \"value\")>";
        let page = trace((0..50_000).map(|i| p2a(i * 100, text)).collect()).to_html();
        assert!(PAGE.len() < 80_000, "the page alone is {} bytes", PAGE.len());
        assert!(page.len() < 6_500_000, "the whole file is {} bytes", page.len());
    }
}
