//! The diagrams of small plans, looked at as the page does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use synod_paxos::Slot;
use synod_sim::{Report, plan::Planned, record, run};

use super::*;

/// Three nodes and two clients; nothing is left to what a seed draws.
fn small() -> Plan {
    const MS: u64 = 1000;
    let mut plan = Plan::of_seed(7);
    plan.faults.clear();
    plan.chaos = 300 * MS;
    let cluster = &mut plan.cluster;
    (cluster.full, cluster.witnesses, cluster.read_copies, cluster.phase2) = (3, 0, 0, 0);
    (cluster.window, cluster.sessions, cluster.lease) = (3, 1000, 0);
    (cluster.heartbeat, cluster.resend) = (20 * MS, 40 * MS);
    cluster.patience = (100 * MS, 800 * MS);
    (cluster.true_drift_ppm, cluster.turn, cluster.sync, cluster.work) = (0, 0, (100, 100), MS);
    (cluster.segment_bytes, cluster.snapshot_every) = (16 << 10, 1 << 20);
    (cluster.wire, cluster.in_phase) = (false, false);
    (cluster.batch, cluster.frame, cluster.backlog) = (0, 0, 0);
    let network = &mut plan.network;
    (network.latency, network.late, network.in_order) = ((200, 200), 0, true);
    (network.lost, network.doubled) = (0, 0);
    let load = &mut plan.workload;
    (load.clients, load.requests, load.in_flight, load.think) = (2, 30, 2, 5 * MS);
    (load.reads, load.leased, load.local, load.retried, load.restarts) = (200, 0, 0, 0, 0);
    (load.patience, load.within) = (200 * MS, 4000 * MS);
    plan
}

/// The leader, a partition and a crash.
fn eventful() -> Plan {
    let mut plan = small();
    let isolate = Planned { at: 60_000, fault: Fault::Isolate { lasts: 90_000 } };
    let pause = Planned { at: 70_000, fault: Fault::Pause { node: 2, lasts: 30_000 } };
    let crash = Fault::Crash { node: 1, left: synod_sim::plan::Left::Nothing, down: 40_000 };
    plan.faults = vec![isolate, pause, Planned { at: 120_000, fault: crash }];
    plan
}

/// A plan that cannot end well: it has to be over while clients are still asking.
fn hopeless() -> Plan {
    let mut plan = small();
    (plan.chaos, plan.healing, plan.workload.requests) = (100_000, 1, 500);
    plan.network.latency = (5000, 5000);
    plan
}

fn diagram(plan: &Plan) -> (Diagram, Report) {
    let mut diagram = Diagram::new(plan);
    let report = record(plan, 0, &mut diagram);
    (diagram, report)
}

/// What the browser hands to `JSON.parse`.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"trace\">").expect("a data block");
    let (data, _) = rest.split_once("</script").expect("an end of the data block");
    serde_json::from_str(data).expect("JSON")
}

fn page(plan: &Plan) -> Value {
    let (diagram, report) = diagram(plan);
    data(&diagram.page("a plan", &report.outcome))
}

fn rows<'a>(data: &'a Value, name: &str) -> &'a Vec<Value> {
    data[name].as_array().unwrap_or_else(|| panic!("{name} is no list"))
}

fn number(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

/// What a row points to.
fn pointed<'a>(list: &'a Value, place: &Value) -> &'a Value {
    &list[number(place).unwrap_or_else(|| panic!("{place} is no place"))]
}

#[test]
fn recording_changes_nothing() {
    for plan in [eventful(), hopeless(), Plan::of_seed(16)] {
        let (_, report) = diagram(&plan);
        assert_eq!(report, run(&plan));
    }
}

#[test]
fn a_plan_that_fails_ends_with_its_violation() {
    let (plan, mut diagram) = (hopeless(), Diagram::new(&hopeless()));
    let report = record(&plan, 0, &mut diagram);
    let violation = report.outcome.as_ref().expect_err("there is no time");
    assert_eq!(violation.property, "V1");
    let data = data(&diagram.page("hopeless", &report.outcome));
    let told = data["violation"].as_str().expect("what is violated");
    assert!(told.starts_with("V1 is violated (after the faults"), "{told}");
    assert!(told.ends_with(&violation.what), "{told}");
    let marks = rows(&data, "marks");
    let last = marks.last().expect("a mark");
    assert_eq!(
        (&last[1], &last[2], &last[3]),
        (&Value::Null, &"violation".into(), &"V1 is violated".into())
    );
    assert!(marks.iter().all(|mark| mark[0].as_u64() <= last[0].as_u64()), "it is the end");
    let on_their_way =
        rows(&data, "messages").iter().filter(|row| row[3].is_null() && row[11].is_null());
    assert!(on_their_way.count() > 0, "what was on its way is neither lost nor received");
}

#[test]
fn what_holds_has_no_violation() {
    let data = page(&eventful());
    assert!(data.get("violation").is_none());
    assert!(rows(&data, "marks").iter().all(|mark| mark[2] != "violation"));
}

#[test]
fn faults_and_lives_are_signs_at_their_times() {
    let data = page(&eventful());
    let of = |kind: &str| -> Vec<&Value> {
        rows(&data, "marks").iter().filter(|mark| mark[2] == kind).collect()
    };
    let faults = of("fault");
    let text = |mark: &Value| mark[3].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (&faults[0][0], &faults[0][1], &faults[0][4]),
        (&60_000.into(), &Value::Null, &150_000.into())
    );
    assert_eq!(text(faults[0]), "isolate: lasts 90.000 ms");
    let name = |mark: &Value| &pointed(&data["processes"], &mark[1])[0];
    assert_eq!((name(faults[1]), &faults[1][4]), (&"node 2".into(), &100_000.into()));
    assert_eq!((name(of("crash")[0]), &of("crash")[0][0]), (&"node 1".into(), &120_000.into()));
    let back = of("restart").into_iter().find(|mark| mark[0].as_u64() > Some(0));
    assert_eq!(back.map(|mark| (name(mark), &mark[0])), Some((&"node 1".into(), &160_000.into())));
    assert_eq!(of("heal").len(), 1);
    assert!(!of("adopted").is_empty(), "somebody led");
}

#[test]
fn every_row_points_to_what_is_there_and_every_fate_is_one_of_three() {
    let data = page(&eventful());
    let memory = &data["memory"];
    let (processes, turns) = (rows(&data, "processes").len(), rows(memory, "turns"));
    let (variables, values) = (rows(memory, "variables").len(), rows(memory, "values").len());
    let commands = rows(memory, "commands").len();
    let below = |value: &Value, end: usize| number(value).is_some_and(|n| n < end);
    for turn in turns {
        assert!(below(&turn[0], processes) && turn[1].is_u64() && below(&turn[2], 2), "{turn}");
        for change in turn[3].as_array().expect("changes") {
            assert!(below(&change[0], variables), "{change}");
            assert!(change[1].is_null() || change[1].is_u64(), "{change}");
            assert!(change[2].is_null() || below(&change[2], values), "{change}");
        }
    }
    let (mut lost, mut received) = (0, 0);
    for row in rows(&data, "messages") {
        assert_eq!(row.as_array().map(Vec::len), Some(12), "{row}");
        assert!(below(&row[0], processes) && below(&row[1], processes), "{row}");
        assert!(row[3].is_null() || row[11].is_null(), "lost and received: {row}");
        assert!(
            row[3].is_null() || row[3].as_u64() >= row[2].as_u64(),
            "before it was sent: {row}"
        );
        assert!(row[10].as_array().is_some_and(|list| list.iter().all(|n| below(n, commands))));
        lost += usize::from(!row[11].is_null());
        received += usize::from(!row[3].is_null());
        // A turn is one of the process whose state it shows, at the time of the arrow's end.
        for (turn, process, at) in [(8, 0, None), (9, 1, Some(3))] {
            let Some(turn) = number(&row[turn]) else { continue };
            let turn = &turns[turn];
            assert_eq!(turn[0], row[process], "{row}");
            assert!(at.is_none_or(|at: usize| turn[1] == row[at]), "{row}");
        }
    }
    assert!(lost > 0 && received > 100, "{lost} lost, {received} received");
}

/// What each node remembers at the end, put together as the page does.
fn states(data: &Value) -> BTreeMap<String, BTreeMap<String, String>> {
    let memory = &data["memory"];
    let mut states: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for turn in rows(memory, "turns") {
        let process = &pointed(&data["processes"], &turn[0])[0];
        let state = states.entry(process.as_str().expect("a name").to_owned()).or_default();
        if turn[2] == 1 {
            state.clear();
        }
        for change in turn[3].as_array().expect("changes") {
            let variable = pointed(&memory["variables"], &change[0]);
            let name = format!("{} {} {}", variable[0], variable[1], change[1]).replace('"', "");
            if change[2].is_null() {
                state.remove(&name);
            } else {
                let value = pointed(&memory["values"], &change[2]).as_str().expect("a value");
                state.insert(name, value.to_owned());
            }
        }
    }
    states
}

#[test]
fn changes_add_up_to_the_states_under_the_papers_names() {
    let data = page(&eventful());
    let states = states(&data);
    let known = |node: &str, name: &str| states[node].get(name).cloned();
    // A node that is left dead remembers nothing.
    let alive = states.iter().filter(|(_, state)| !state.is_empty());
    let nodes: Vec<&String> = alive.map(|(name, _)| name).collect();
    assert!(nodes.len() >= 2, "{nodes:?}");
    let slot_out = known(nodes[0], "replica slot_out null");
    assert!(slot_out.as_ref().is_some_and(|slot| slot.parse::<u64>().unwrap() > 5), "{slot_out:?}");
    for node in &nodes {
        assert_eq!(known(node, "replica slot_out null"), slot_out, "all come to the same slot");
        for name in ["acceptor ballot_num null", "leader ballot_num null", "replica slot_in null"] {
            assert!(known(node, name).is_some(), "{node}: {name}");
        }
    }
    let active =
        nodes.iter().filter(|node| known(node, "leader active null").as_deref() == Some("true"));
    assert_eq!(active.count(), 1, "one leads in the end");
    // In the end all of it is collected.
    for map in [["acceptor", "accepted"], ["replica", "decisions"]] {
        let variables = rows(&data["memory"], "variables");
        assert!(variables.iter().any(|name| name[0] == map[0] && name[1] == map[1]), "{map:?}");
    }
}

#[test]
fn a_command_can_be_followed_from_its_request_to_its_response() {
    let data = page(&eventful());
    let commands = &data["memory"]["commands"];
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows(&data, "messages") {
        for command in row[10].as_array().expect("commands") {
            let command = pointed(commands, command).as_str();
            let kind = row[4].as_str().expect("a kind");
            kinds.entry(command.expect("a name")).or_default().insert(kind);
        }
    }
    let responses = kinds.values().filter(|kinds| kinds.contains("response")).count();
    let whole = |kinds: &&BTreeSet<&str>| {
        ["request", "p2a", "response"].iter().all(|kind| kinds.contains(kind))
    };
    assert!(responses > 0, "{kinds:?}");
    assert_eq!(kinds.values().filter(whole).count(), responses, "{kinds:?}");
}

/// A request of client 0, as it is recorded.
fn floods(diagram: &mut Diagram, messages: u64, text: &str) {
    use synod::protocol::Ask;
    use synod_paxos::{ClientId, Command, Op, Payload};

    for number in 1..=messages {
        let client = ClientId { born: Slot(1), number: 1 << 32 | 1 };
        let op = Op::Apply(Payload::from(text.as_bytes()));
        let ask = Ask::Command(Command { client, cid: number, acked: 0, op });
        let (from, to) = (Party::Client(0), Party::Node(NodeId(1)));
        let content = Content::Ask(&ask);
        let at = Duration::from_micros(number);
        diagram.record(at, Seen::Turn(NodeId(1)));
        diagram.record(at, Seen::Sends { number, from, to, content });
        diagram.record(at, Seen::Looks(number));
        let (name, value) =
            (("acceptor", "accepted", Some(Slot(number % 100))), format!("{text} {number}"));
        diagram.record(at, Seen::Remembers(NodeId(1), name, Some(&value)));
    }
}

#[test]
fn of_a_run_that_is_too_long_the_end_is_kept_with_the_states_that_led_there() {
    let mut diagram = Diagram::new(&Plan::of_seed(0));
    let (messages, text) = (120_000, "x".repeat(200));
    floods(&mut diagram, messages, &text);
    let page = diagram.page("a flood", &Ok(()));
    assert!(page.len() < 24_000_000, "{} bytes", page.len());
    let data = data(&page);
    let (kept, dropped) = (rows(&data, "messages"), data["dropped"].as_u64().expect("a number"));
    assert_eq!(kept.len() as u64 + dropped, messages);
    assert!(kept.len() > 20_000 && dropped > 20_000, "{} kept", kept.len());
    let last = kept.last().expect("messages");
    assert!(last[5].as_str().is_some_and(|text| text.starts_with("request c0#120000 x")), "{last}");
    let turns = rows(&data["memory"], "turns");
    assert_eq!(turns[0][2], 1, "the first turn sums up those that are left out");
    assert_eq!(turns[0][3].as_array().map(Vec::len), Some(100));
    assert_eq!(pointed(&data["memory"]["turns"], &last[9])[1], 120_000);
    let state = &states(&data)["node 1"];
    assert_eq!(state.len(), 100);
    assert!(state["acceptor accepted 0"].ends_with(" 120000"));
}
