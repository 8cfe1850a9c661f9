//! Routers, and prompts on engines of their own.

use super::*;

#[test]
fn a_split_replica_sends_tokens_after_the_transfer() {
    let transfer = Transfer {
        prefill: constant(),
        base: Nanos(5 * MS),
        per_token: Nanos(1000),
    };
    let config = ClusterConfig {
        engine: constant(),
        transfer: Some(transfer),
        ..ClusterConfig::default()
    };
    let mut cluster = Cluster::new(config, 0).unwrap();
    cluster
        .submit(EngineRequest::new(9, Content::Unshared(1000), 3), Nanos(0))
        .unwrap();
    let mut events = Vec::new();
    while let Some(at) = cluster.next_step_at() {
        cluster.step(at, &mut events);
    }
    let ats: Vec<u64> = events.iter().map(|event| event.at.0 / MS).collect();
    // One step for the prompt, 5 + 1 ms on the way, one step a token.
    assert_eq!(ats, [8, 9, 10]);
    assert_eq!(events[0].first_scheduled, Nanos(0));
    let stats = cluster.stats();
    assert_eq!(
        stats.computed_tokens + stats.transferred_tokens,
        1000 + 999 + 3
    );
    assert_eq!((stats.running, stats.waiting), (0, 0));
}

#[test]
fn each_router_picks_its_replica() {
    let replicas = |router: Router, request: &dyn Fn(u64) -> EngineRequest| {
        let config = ClusterConfig {
            engine: constant(),
            replicas: 4,
            router,
            transfer: None,
        };
        let mut cluster = Cluster::new(config, 1).unwrap();
        (0..200)
            .map(|id| cluster.submit(request(id), Nanos(id)).unwrap())
            .collect::<Vec<u32>>()
    };
    let plain = |id| EngineRequest::new(id, Content::Unshared(4), 50);
    assert_eq!(
        replicas(Router::RoundRobin, &plain)[..6],
        [0, 1, 2, 3, 0, 1]
    );
    let counts = |homes: &[u32]| {
        (0..4)
            .map(|replica| homes.iter().filter(|&&home| home == replica).count())
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&replicas(Router::LeastInFlight, &plain)), [50; 4]);
    assert!(
        counts(&replicas(Router::PowerOfTwo, &plain))
            .iter()
            .all(|n| (45..=55).contains(n))
    );
    let in_conversation = |id: u64| EngineRequest {
        conversation: Some(id % 10),
        ..plain(id)
    };
    let homes = replicas(Router::Sticky, &in_conversation);
    assert!((10..200).all(|i| homes[i] == homes[i - 10]));
    let prefix = |id: u64| {
        let tokens = (0..300)
            .map(|t| if t < 256 { id as u32 % 10 } else { id as u32 })
            .collect();
        EngineRequest::new(id, Content::Tokens(tokens), 50)
    };
    let homes = replicas(Router::PrefixAffinity, &prefix);
    assert!((10..40).all(|i| homes[i] == homes[i - 10]));
    // Affinity gives way before one replica is swamped.
    let counts = counts(&homes);
    assert!(
        counts.iter().max().unwrap() - counts.iter().min().unwrap() <= IMBALANCE_SLACK,
        "{counts:?}"
    );
}

const IMBALANCE_SLACK: usize = crate::engine::cluster::IMBALANCE + 1;
