//! Guests' log lines.

use super::coordinator::{Coordinator, JOB};
use super::world::World;
use crate::Input;
use manyhands_protocol::message::{MergeMode, ToCoordinator};
use manyhands_protocol::{JobId, Node, limits};

#[test]
fn lines_pass_up_to_a_rate_and_the_rest_is_counted() {
    let mut world = World::welcomed(1, Coordinator::new(8, MergeMode::Reduce));
    world.coordinator.grant(Node::leaf(0));
    world.deliver_all();
    world.now = 5_000_000;
    world.heard();
    let text = "é".repeat(limits::MAX_TEXT);
    for _ in 0..50 {
        let text = text.clone();
        world.handle(Input::Log { job: JOB, text });
    }
    let stranger = JobId(77);
    world.handle(Input::Log {
        job: stranger,
        text,
    });
    let lines = |heard: Vec<ToCoordinator>| -> Vec<String> {
        let texts = heard.into_iter().filter_map(|message| match message {
            ToCoordinator::Log { job, text } => {
                assert_eq!(job, JOB);
                Some(text)
            }
            _ => None,
        });
        texts.collect()
    };
    let told = lines(world.heard());
    assert_eq!(told.len(), 20);
    assert!(told.iter().all(|line| line.len() <= limits::MAX_TEXT));
    world.now = 6_000_000;
    assert!(world.session.next_deadline() <= Some(crate::Micros(world.now)));
    world.handle(Input::Tick);
    assert_eq!(lines(world.heard()), ["… 30 lines dropped"]);
    world.handle(Input::Log {
        job: JOB,
        text: "again".into(),
    });
    assert_eq!(lines(world.heard()), ["again"]);
}
