//! TLS: the nodes and clients of one authority, and nobody else.

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use synod::{Client, Connect, ConnectError, Tls};

use crate::cluster::{Cluster, Journal, append, until, wait};

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn tls(&self, name: &str) -> Tls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        let (ca, key) = (self.0.pem(), key.serialize_pem());
        Tls::from_pem(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap()
    }
}

/// A cluster whose nodes have these certificates.
fn cluster(tls: Vec<Option<Tls>>) -> Cluster {
    let mut cluster = Cluster::unstarted(tls.len(), |builder| builder);
    for (id, tls) in (1..).zip(tls) {
        let mut builder = cluster.builder(id).peers(&cluster.peers);
        if let Some(tls) = tls {
            builder = builder.tls(tls);
        }
        let node = wait("a start", builder.start()).unwrap();
        cluster.nodes.insert(id, node);
    }
    cluster
}

fn nodes(ca: &Ca) -> Vec<Option<Tls>> {
    (1..=3).map(|id| Some(ca.tls(&format!("node-{id}.synod")))).collect()
}

fn connect(cluster: &Cluster, tls: Option<Tls>) -> Result<Client<Journal>, ConnectError> {
    let mut connect = Connect::to(&cluster.peers);
    if let Some(tls) = tls {
        connect = connect.tls(tls);
    }
    wait("connect", connect.connect())
}

#[test]
fn nodes_and_clients_of_one_authority_work_together() {
    let ca = Ca::new("CA");
    let mut cluster = cluster(nodes(&ca));
    let client = connect(&cluster, Some(ca.tls("app.example"))).unwrap();
    append(&client, 1).unwrap();
    append(&cluster.client(2), 2).unwrap();
    let leader = cluster.leader();
    cluster.kill(leader);
    append(&client, 3).unwrap();
    assert_eq!(cluster.numbers(leader % 3 + 1), [1, 2, 3]);
}

#[test]
fn clients_without_tls_or_of_another_authority_are_refused() {
    let ca = Ca::new("CA");
    let cluster = cluster(nodes(&ca));
    append(&cluster.client(1), 1).unwrap();
    let plain = connect(&cluster, None).map(drop).unwrap_err();
    assert!(plain.to_string().contains("configure"), "{plain}");
    let other =
        connect(&cluster, Some(Ca::new("another").tls("app.example"))).map(drop).unwrap_err();
    assert!(other.to_string().contains("same CA"), "{other}");
    append(&cluster.client(2), 2).unwrap();
}

#[test]
fn a_client_with_tls_is_told_that_the_nodes_have_none() {
    let cluster = Cluster::new(1);
    let error = connect(&cluster, Some(Ca::new("CA").tls("app.example"))).map(drop).unwrap_err();
    assert!(error.to_string().contains("configure"), "{error}");
}

#[test]
fn a_node_of_another_authority_or_with_anothers_certificate_is_kept_out() {
    let ca = Ca::new("CA");
    for wrong in [Some(Ca::new("another").tls("node-3.synod")), Some(ca.tls("node-9.synod")), None]
    {
        let mut tls = nodes(&ca);
        tls[2] = wrong;
        let cluster = cluster(tls);
        append(&cluster.client(1), 1).unwrap();
        let problem = |id: u32, peer: usize| cluster.status(id).members[peer].problem.clone();
        until("both sides say what is wrong", || {
            let (ours, theirs) = (problem(1, 2), problem(3, 0));
            ours.is_some_and(|why| why.contains("certificate") || why.contains("TLS"))
                && theirs.is_some_and(|why| why.contains("certificate") || why.contains("TLS"))
        });
        assert_eq!(cluster.status(3).leader, None, "it has heard from nobody");
    }
}
