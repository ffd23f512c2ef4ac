//! With TLS: who is let in, and who is told what.

use super::*;

#[test]
fn both_sides_prove_who_they_are() {
    let mut two = tls_pair();
    let proves = |two: &mut Two, side: usize, node| two.sides[side].connection().proves(node);
    assert!(!proves(&mut two, DIALER, NodeId(1)) && !proves(&mut two, ACCEPTOR, NodeId(2)));
    assert!(two.sides.iter_mut().all(|side| side.connection().is_handshaking()));
    two.greet();
    assert!(two.sides.iter_mut().all(|side| !side.connection().is_handshaking()));
    assert!(proves(&mut two, DIALER, NodeId(1)) && proves(&mut two, ACCEPTOR, NodeId(2)));
    assert!(!proves(&mut two, DIALER, NodeId(2)) && !proves(&mut two, ACCEPTOR, NodeId(1)));
    assert!(Connection::plain(sockets().into_iter().next().unwrap()).proves(NodeId(9)));
}

#[test]
fn what_was_sent_before_tls_was_set_up_leaves_by_itself_then() {
    let mut two = tls_pair();
    for side in &mut two.sides {
        side.put(b"early");
        side.connection().send().unwrap();
    }
    let start = Instant::now();
    while two.sides.iter().any(|side| side.frames.is_empty()) {
        assert!(start.elapsed() < Duration::from_secs(20), "it never left: {:?}", two.sides);
        for side in &mut two.sides {
            let connection = side.connection.as_mut().unwrap();
            receive(connection, &mut side.frames).unwrap();
        }
    }
}

#[test]
fn a_client_that_knows_no_id_takes_any_node_and_nobody_else() {
    let ca = Ca::new("CA");
    let client = ca.tls("app.example");
    for name in ["node-1.synod", "NODE-4000000000.synod"] {
        Two::tls(Some((&client, None)), Some(&ca.tls(name))).greet();
    }
    for name in ["app.example", "node-01.synod", "node-1.synod.example", "node-4294967296.synod"] {
        let other = ca.tls(name);
        let [dialer, acceptor] = Two::tls(Some((&client, None)), Some(&other)).failures();
        let expected = "any node (node-<id>.synod)".to_owned();
        assert_eq!(dialer, TlsFailure::WrongName { expected, presented: vec![name.to_owned()] });
        assert_eq!(acceptor, TlsFailure::Refused(Alert::BadCertificate));
    }
    let other = Ca::new("another CA");
    let stranger = other.tls_trusting(&(ca.pem() + &other.pem()), "node-1.synod");
    let [dialer, _] = Two::tls(Some((&client, None)), Some(&stranger)).failures();
    assert_eq!(dialer, TlsFailure::WrongCa);
}

#[test]
fn a_certificate_proves_every_name_in_it_and_no_other() {
    let ca = Ca::new("CA");
    let (cert, key) = ca.issue("node-1.synod", |params| {
        params.subject_alt_names.push(rcgen::SanType::DnsName("node-3.synod".try_into().unwrap()));
    });
    let both = Tls::from_pem(ca.pem().as_bytes(), cert.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!([1, 2, 3].map(|node| both.is_of(NodeId(node))), [true, false, true]);
    let mut two = Two::tls(Some((&both, Some(NodeId(3)))), Some(&both));
    two.greet();
    let acceptor = two.sides[ACCEPTOR].connection();
    assert_eq!([1, 2, 3].map(|node| acceptor.proves(NodeId(node))), [true, false, true]);
}

#[test]
fn another_node_than_the_one_meant_is_refused() {
    let ca = Ca::new("CA");
    let (one, two) = (ca.tls("node-1.synod"), ca.tls("node-2.synod"));
    let [dialer, acceptor] = Two::tls(Some((&two, Some(NodeId(3)))), Some(&one)).failures();
    let (expected, presented) = ("node-3.synod".to_owned(), vec!["node-1.synod".to_owned()]);
    assert_eq!(dialer, TlsFailure::WrongName { expected, presented });
    assert_eq!(acceptor, TlsFailure::Refused(Alert::BadCertificate));
}

#[test]
fn certificates_of_another_ca_are_refused_also_if_it_has_the_same_name() {
    for name in ["CA", "another CA"] {
        let (ca, other) = (Ca::new("CA"), Ca::new(name));
        let (ours, theirs) = (ca.tls("node-1.synod"), other.tls("node-2.synod"));
        let [dialer, acceptor] = Two::tls(Some((&theirs, Some(NodeId(1)))), Some(&ours)).failures();
        assert_eq!(dialer, TlsFailure::WrongCa);
        assert!(acceptor.to_string().contains("both need certificates of the same CA"));

        // Now only the acceptor finds fault.
        let theirs = other.tls_trusting(&(ca.pem() + &other.pem()), "node-2.synod");
        let [dialer, acceptor] = Two::tls(Some((&theirs, Some(NodeId(1)))), Some(&ours)).failures();
        assert_eq!(acceptor, TlsFailure::WrongCa);
        assert!(dialer.to_string().contains("both need certificates of the same CA"));
    }
}

#[test]
fn one_without_a_certificate_is_refused() {
    let ca = Ca::new("CA");
    let [dialer, acceptor] =
        Two::foreign(ca.foreign_client(None), &ca.tls("node-1.synod")).failures();
    assert_eq!(acceptor, TlsFailure::NoCertificate);
    assert_eq!(dialer, TlsFailure::Refused(Alert::CertificateRequired));
}

#[test]
fn a_certificate_out_of_its_time_or_for_another_use_is_refused() {
    let ca = Ca::new("CA");
    let node = ca.tls("node-1.synod");
    type Change = fn(&mut CertificateParams);
    let cases: [(Change, TlsFailure, Alert); 3] = [
        (
            |params| params.not_after = date_time_ymd(2001, 1, 1),
            TlsFailure::Expired,
            Alert::CertificateExpired,
        ),
        (
            |params| params.not_before = date_time_ymd(2999, 1, 1),
            TlsFailure::NotYetValid,
            Alert::CertificateExpired,
        ),
        (
            |params| params.extended_key_usages = vec![Use::ServerAuth],
            TlsFailure::WrongUse,
            Alert::UnsupportedCertificate,
        ),
    ];
    for (change, failure, alert) in cases {
        let bad = ca.issue("node-2.synod", change);
        let own = Tls::from_pem(ca.pem().as_bytes(), bad.0.as_bytes(), bad.1.as_bytes());
        assert!(matches!(own, Err(TlsError::Own(own)) if own == failure));
        let [dialer, acceptor] = Two::foreign(ca.foreign_client(Some(bad)), &node).failures();
        assert_eq!(acceptor, failure);
        assert_eq!(dialer, TlsFailure::Refused(alert));
    }
}

#[test]
fn one_that_speaks_plain_tcp_is_told_apart() {
    let ca = Ca::new("CA");
    let node = ca.tls("node-1.synod");
    // Among them all lengths whose first byte could be the type of a record.
    for len in [5, 20, 21, 22, 23, 24, 200, 791, 5000] {
        let mut two = Two::tls(None, Some(&node));
        two.sides[DIALER].put(&vec![3; len]);
        assert_eq!(two.failures(), [TlsFailure::TlsPeer, TlsFailure::PlainPeer], "{len}");
    }
}

#[test]
fn one_that_speaks_tls_is_told_apart() {
    let node = Ca::new("CA").tls("node-1.synod");
    let mut two = Two::tls(Some((&node, None)), None);
    two.until(|sides| sides.iter().all(|side| side.failure.is_some()));
    assert_eq!(two.sides[DIALER].tls_failure(), &TlsFailure::PlainPeer);
    assert_eq!(two.sides[ACCEPTOR].tls_failure(), &TlsFailure::TlsPeer);
}

#[test]
fn an_end_before_tls_is_set_up_is_told_apart() {
    let node = Ca::new("CA").tls("node-1.synod");
    let mut two = Two::tls(Some((&node, None)), None);
    two.sides[ACCEPTOR].connection().shutdown();
    two.until(|sides| sides[DIALER].failure.is_some());
    assert_eq!(two.sides[DIALER].tls_failure(), &TlsFailure::Ended);
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let node = Ca::new("CA").tls("node-1.synod");
    let mut random = 1_u64;
    let mut draw = || {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        random.to_be_bytes()[0]
    };
    for round in 0..200 {
        let mut two = Two::tls(None, (round % 2 == 0).then_some(&node));
        let mut garbage: Vec<u8> = iter::repeat_with(&mut draw).take(300).collect();
        if round % 4 < 2 {
            garbage[..5].copy_from_slice(&[0x16, 3, 1, 0, 200]);
        }
        two.sides[DIALER].connection().out().extend_from_slice(&garbage);
        two.sides[DIALER].connection().send().unwrap();
        two.sides[DIALER].connection().shutdown();
        two.until(|sides| sides[ACCEPTOR].failure.is_some());
        assert!(two.sides[ACCEPTOR].frames.is_empty());
    }
}

#[test]
fn a_mistake_in_the_set_up_is_named() {
    let ca = Ca::new("CA");
    let ((cert, key), ca) = (ca.issue("node-1.synod", |_| ()), ca.pem());
    let (other, other_ca) = (Ca::new("CA").issue("node-1.synod", |_| ()), Ca::new("X").pem());
    let from = |ca: &str, cert: &str, key: &str| {
        let made = Tls::from_pem(ca.as_bytes(), cert.as_bytes(), key.as_bytes());
        made.map_or_else(|error| error.to_string(), |tls| format!("{tls:?}"))
    };
    assert_eq!(from(&ca, &cert, &key), "Tls([\"node-1.synod\"])");
    let cut = &cert[..cert.len() / 2];
    let spoiled = cert.replacen("MII", "????", 1);
    let empty = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (ca, cert, key, says) in [
        ("", &*cert, &*key, "there is no CA"),
        (&*key, &*cert, &*key, "there is no CA"),
        (&*ca, "", &*key, "there is no certificate"),
        (&*ca, &*cert, "", "there is no key"),
        (&*ca, &*cert, &*cert, "there is no key"),
        (&*ca, cut, &*key, "the certificate cannot be read"),
        (&*ca, &*spoiled, &*key, "the certificate cannot be read"),
        (&*ca, &*cert, empty, "the key cannot be read"),
        (&*ca, &*cert, &*other.1, "the key does not belong to the certificate"),
        (&*other_ca, &*cert, &*key, "our own certificate is of no use: the certificate is not of"),
    ] {
        let error = from(ca, cert, key);
        assert!(error.contains(says), "{error}");
    }
}
