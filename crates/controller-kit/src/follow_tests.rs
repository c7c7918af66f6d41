use api_types::fleet::{Fleet, FleetSpec};

use super::*;

const NAMESPACE: &str = "oslo";

fn named(name: &str) -> Fleet {
    let mut fleet = Fleet::new(name, FleetSpec::default());
    fleet.metadata.namespace = Some(NAMESPACE.into());
    fleet
}

fn told(changes: &[Change<Fleet>]) -> Vec<String> {
    let mut told: Vec<String> = changes
        .iter()
        .map(|change| {
            assert_eq!(change.namespace, NAMESPACE);
            let name = |fleet: &Option<Arc<Fleet>>| {
                fleet
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |fleet| fleet.name_any())
            };
            let (old, new) = (name(&change.old), name(&change.new));
            if change.unreadable {
                format!("{old}>{new} ({} unreadable)", change.name)
            } else {
                format!("{old}>{new}")
            }
        })
        .collect();
    told.sort();
    told
}

fn readable(name: &str) -> DeserializeGuard<Fleet> {
    DeserializeGuard(Ok(named(name)))
}

fn unreadable(name: &str) -> DeserializeGuard<Fleet> {
    let metadata = serde_json::json!({"name": name, "namespace": NAMESPACE});
    let fleet: DeserializeGuard<Fleet> = serde_json::from_value(serde_json::json!({
        "apiVersion": "fleet.kurator.dev/v1alpha1", "kind": "Fleet", "metadata": metadata,
        "spec": {"clusters": 5},
    }))
    .unwrap();
    assert!(fleet.0.is_err());
    fleet
}

/// A store and what is told of it.
#[derive(Default)]
struct Followed {
    writer: Writer<Fleet>,
    intake: Intake,
}

impl Followed {
    fn send(&mut self, event: Event<DeserializeGuard<Fleet>>) -> Vec<String> {
        let reader = self.writer.as_reader();
        told(&take_in(&mut self.writer, &reader, &self.intake, event).1)
    }

    fn list(&mut self, objects: Vec<DeserializeGuard<Fleet>>) -> Vec<String> {
        assert!(self.send(Event::Init).is_empty());
        for object in objects {
            assert!(self.send(Event::InitApply(object)).is_empty());
        }
        self.send(Event::InitDone)
    }

    fn stored(&self) -> Vec<String> {
        let known = self.writer.as_reader().state();
        known.iter().map(|fleet| fleet.name_any()).collect()
    }
}

#[test]
fn a_change_is_told_when_the_store_shows_it_and_a_new_list_tells_what_vanished() {
    let mut fleets = Followed::default();
    let first = fleets.list(vec![readable("north"), readable("south")]);
    assert_eq!(first, ["->north", "->south"]);
    assert_eq!(
        fleets.send(Event::Apply(readable("north"))),
        ["north>north"]
    );
    assert_eq!(fleets.send(Event::Delete(readable("north"))), ["north>-"]);
    let second = fleets.list(vec![readable("west")]);
    assert_eq!(second, ["->west", "south>-"]);
}

#[test]
fn what_becomes_of_an_object_that_cannot_be_read_is_told_too() {
    let mut fleets = Followed::default();
    let first = fleets.list(vec![readable("north"), unreadable("south")]);
    assert_eq!(first, ["->- (south unreadable)", "->north"]);

    let kept = ["north>north (north unreadable)"];
    assert_eq!(fleets.send(Event::Apply(unreadable("north"))), kept);
    assert_eq!(fleets.stored(), ["north"], "its last state is kept");
    assert_eq!(fleets.send(Event::Apply(readable("north"))), kept);
    assert_eq!(
        fleets.send(Event::Apply(readable("north"))),
        ["north>north"]
    );

    fleets.send(Event::Apply(unreadable("north")));
    let gone = ["north>- (north unreadable)"];
    assert_eq!(fleets.send(Event::Delete(unreadable("north"))), gone);
    assert_eq!(fleets.stored(), Vec::<String>::new());
    let gone = ["->- (south unreadable)"];
    assert_eq!(fleets.send(Event::Delete(unreadable("south"))), gone);
    assert_eq!(fleets.intake.all::<Fleet>(NAMESPACE), Vec::<String>::new());
}

#[test]
fn a_new_list_tells_which_objects_can_be_read_again_or_are_gone() {
    let mut fleets = Followed::default();
    fleets.list(vec![unreadable("north"), unreadable("south")]);
    let told = fleets.list(vec![readable("north")]);
    assert_eq!(
        told,
        ["->- (south unreadable)", "->north (north unreadable)"]
    );
    assert_eq!(fleets.list(vec![readable("north")]), ["north>north"]);
}

#[test]
fn an_object_that_cannot_be_read_is_noted_until_it_is_mended_or_gone() {
    let mut fleets = Followed::default();
    let noted = |fleets: &Followed| fleets.intake.why::<Fleet>(NAMESPACE, "north").is_some();

    fleets.send(Event::Apply(unreadable("north")));
    assert!(noted(&fleets));
    assert_eq!(fleets.intake.all::<Fleet>(NAMESPACE), ["north"]);
    fleets.send(Event::Apply(readable("north")));
    assert!(!noted(&fleets));

    fleets.send(Event::Apply(unreadable("north")));
    fleets.send(Event::Delete(unreadable("north")));
    assert!(!noted(&fleets));

    fleets.send(Event::Apply(unreadable("north")));
    fleets.send(Event::Init);
    assert!(noted(&fleets), "until the list is complete");
    fleets.send(Event::InitDone);
    assert!(!noted(&fleets));
}
