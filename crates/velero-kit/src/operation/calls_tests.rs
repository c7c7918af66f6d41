use super::*;

fn name(text: &str) -> String {
    text.to_owned()
}

fn in_pass(pass: u64) -> Turn {
    Turn {
        pass,
        limit: Duration::from_secs(30),
    }
}

fn answered(purpose: &str, pass: u64) -> Slot<String> {
    let mut slot = Slot::Busy(purpose.to_owned());
    slot.answer(purpose, name("a"), pass);
    slot
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_once_and_for_its_purpose() {
    let mut slot = Slot::Busy("create a".to_owned());
    assert!(slot.take("create a", in_pass(1)).is_none() && slot.is_busy());
    slot.answer("create b", name("b"), 1);
    assert!(slot.is_busy(), "an answer to another question is none");
    slot.answer("create a", name("a"), 1);
    let taken = slot.take("create a", in_pass(1));
    assert!(matches!(taken, Some((n, _)) if n == "a"));
    assert!(slot.take("create a", in_pass(1)).is_none() && !slot.is_busy());

    slot = answered("confirm a", 1);
    let taken = slot.take("create a", in_pass(1));
    assert!(taken.is_none(), "it was asked for something else");
    assert!(!slot.is_busy());
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_the_turn_of_the_next_pass_and_not_for_a_later_one() {
    let came = Instant::now();
    let mut slot = answered("confirm a", 1);
    // The pass has waited behind those of many other objects.
    tokio::time::advance(Duration::from_secs(29)).await;
    let taken = slot.take("confirm a", in_pass(2));
    assert_eq!(taken.map(|(_, at)| at), Some(came));

    slot = answered("confirm a", 1);
    let taken = slot.take("confirm a", in_pass(3));
    assert!(taken.is_none(), "a pass between has not needed it");

    slot = answered("confirm a", 1);
    tokio::time::advance(Duration::from_secs(30)).await;
    let taken = slot.take("confirm a", in_pass(2));
    assert!(taken.is_none(), "it may be wrong by now");
}

#[test]
fn a_member_is_slow_until_a_call_to_it_was_not() {
    let slow = Slow::default();
    let [oslo, bergen] = ["oslo", "bergen"].map(|name| ClusterKey::attached("team-a", name));
    slow.note(&oslo, true);
    assert!(slow.has(&oslo) && !slow.has(&bergen));
    slow.note(&oslo, false);
    assert!(!slow.has(&oslo));
}
