//! Does Velero answer? A `ServerStatusRequest` is its own question for that.

use std::time::Duration;

use api_types::external::velero::ServerStatusRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proxy_client::{Error, MemberApi, Preconditions};
use tokio::time::{Instant, sleep};

use crate::NAMESPACE;
use crate::identity::Labels;

/// Time between two looks at an open question; Velero answers in about 0.6 s.
const LOOK: Duration = Duration::from_millis(500);

/// What a question to Velero has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It answered this very question.
    Given,
    /// It did not, in all the time that it had.
    Missing,
    /// The question was taken away before there was an answer: that says nothing about Velero.
    Lost,
}

/// Asks Velero on one member and waits for its answer for as long as `patience`.
///
/// Velero keeps what it has answered for a minute and longer, and for ever if it dies meanwhile. So
/// a question of an earlier time under this name is removed first, whatever it says, and only an
/// answer to the object that was made here counts. The question is removed in any case; one that
/// cannot be is removed by the next: there is never more than one.
///
/// # Errors
/// When the member refuses the question or does not answer at all, which says nothing about Velero.
pub async fn ask(
    api: &MemberApi<ServerStatusRequest>,
    name: &str,
    labels: Labels,
    manager: &str,
    patience: Duration,
) -> Result<Answer, Error> {
    let question = ServerStatusRequest {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        ..ServerStatusRequest::default()
    };
    let place = OnMember {
        api,
        question,
        name,
        manager,
    };
    ask_at(&place, patience).await
}

/// Where a question is put.
trait Place: Sync {
    /// Puts it, under its one name.
    fn put(&self) -> impl Future<Output = Result<ServerStatusRequest, Error>> + Send;
    /// What is there under its name.
    fn look(&self) -> impl Future<Output = Result<Option<ServerStatusRequest>, Error>> + Send;
    /// Removes just this object.
    fn remove(&self, uid: String) -> impl Future<Output = Result<(), Error>> + Send;
}

struct OnMember<'a> {
    api: &'a MemberApi<ServerStatusRequest>,
    question: ServerStatusRequest,
    name: &'a str,
    manager: &'a str,
}

impl Place for OnMember<'_> {
    async fn put(&self) -> Result<ServerStatusRequest, Error> {
        self.api.create(&self.question, self.manager).await
    }

    async fn look(&self) -> Result<Option<ServerStatusRequest>, Error> {
        self.api.get_opt(self.name).await
    }

    async fn remove(&self, uid: String) -> Result<(), Error> {
        let only_if = Preconditions {
            uid: Some(uid),
            resource_version: None,
        };
        match self.api.delete(self.name, &only_if).await {
            // Another object has the name by now.
            Ok(_) | Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

async fn ask_at(place: &impl Place, patience: Duration) -> Result<Answer, Error> {
    let uid = uid_of(&put_anew(place).await?);
    let answer = wait(place, &uid, patience).await;
    if !matches!(answer, Ok(Answer::Lost))
        && let Err(error) = place.remove(uid).await
    {
        tracing::debug!(%error, "a question to Velero stays until the next one");
    }
    answer
}

/// Puts the question, in place of one of an earlier time.
async fn put_anew(place: &impl Place) -> Result<ServerStatusRequest, Error> {
    match place.put().await {
        Err(Error::AlreadyExists(_)) => {}
        put => return put,
    }
    if let Some(former) = place.look().await? {
        place.remove(uid_of(&former)).await?;
    }
    place.put().await
}

/// Waits until Velero has answered the question with this uid.
async fn wait(place: &impl Place, uid: &str, patience: Duration) -> Result<Answer, Error> {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        sleep(LOOK).await;
        match place.look().await? {
            Some(found) if uid_of(&found) == uid => {
                if found.phase() == "Processed" {
                    return Ok(Answer::Given);
                }
            }
            // Velero removes none before it has been answered for a minute, so it was somebody else.
            _ => return Ok(Answer::Lost),
        }
    }
    Ok(Answer::Missing)
}

fn uid_of(question: &ServerStatusRequest) -> String {
    question.metadata.uid.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proxy_client::Detail;
    use serde_json::json;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(15);

    /// A member's API server, which gives each object a uid of its own, and a Velero that answers at
    /// this look, if ever.
    #[derive(Default)]
    struct Member {
        stored: Mutex<Option<ServerStatusRequest>>,
        made: Mutex<usize>,
        looks: Mutex<usize>,
        answers_at: Option<usize>,
        /// Somebody removes it at this look.
        removed_at: Option<usize>,
        keeps: bool,
    }

    fn question(uid: &str, phase: &str) -> ServerStatusRequest {
        ServerStatusRequest {
            metadata: ObjectMeta {
                name: Some("kurator-u-oslo".to_owned()),
                uid: Some(uid.to_owned()),
                ..ObjectMeta::default()
            },
            status: json!({ "phase": phase }),
            ..ServerStatusRequest::default()
        }
    }

    fn refused() -> Box<Detail> {
        Box::new(Detail::new("create serverstatusrequests.velero.io", "no"))
    }

    impl Place for Member {
        async fn put(&self) -> Result<ServerStatusRequest, Error> {
            let mut stored = self.stored.lock().unwrap();
            if stored.is_some() {
                return Err(Error::AlreadyExists(refused()));
            }
            let mut made = self.made.lock().unwrap();
            *made += 1;
            Ok(stored.insert(question(&format!("made-{made}"), "")).clone())
        }

        async fn look(&self) -> Result<Option<ServerStatusRequest>, Error> {
            let mut stored = self.stored.lock().unwrap();
            let made = *self.made.lock().unwrap();
            let mut looks = self.looks.lock().unwrap();
            // Velero does nothing about what was there before.
            if made > 0 {
                *looks += 1;
                if Some(*looks) == self.removed_at {
                    *stored = None;
                }
                if Some(*looks) == self.answers_at {
                    *stored = Some(question(&format!("made-{made}"), "Processed"));
                }
            }
            Ok(stored.clone())
        }

        async fn remove(&self, uid: String) -> Result<(), Error> {
            if self.keeps {
                return Err(Error::Refused(refused()));
            }
            let mut stored = self.stored.lock().unwrap();
            if stored.as_ref().is_some_and(|found| uid_of(found) == uid) {
                *stored = None;
            }
            Ok(())
        }
    }

    impl Member {
        fn with(former: ServerStatusRequest) -> Self {
            Self {
                stored: Mutex::new(Some(former)),
                ..Self::default()
            }
        }

        fn left(&self) -> Option<String> {
            self.stored.lock().unwrap().as_ref().map(uid_of)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_an_earlier_time_is_none() {
        for phase in ["Processed", "New", ""] {
            let dead = Member::with(question("former", phase));
            let answer = ask_at(&dead, PATIENCE).await.unwrap();
            assert_eq!(
                answer,
                Answer::Missing,
                "{phase:?} of a Velero that is dead"
            );
            assert_eq!(dead.left(), None, "{phase:?}");

            let alive = Member {
                answers_at: Some(3),
                ..Member::with(question("former", phase))
            };
            let answer = ask_at(&alive, PATIENCE).await.unwrap();
            assert_eq!(answer, Answer::Given, "{phase:?} of a Velero that lives");
            assert_eq!(alive.left(), None, "{phase:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_questions_to_a_dead_velero_none_piles_up() {
        let dead = Member::default();
        for _ in 0..5 {
            assert_eq!(ask_at(&dead, PATIENCE).await.unwrap(), Answer::Missing);
        }
        assert_eq!(dead.left(), None);
        let keeps = Member {
            keeps: true,
            ..Member::default()
        };
        let answer = ask_at(&keeps, PATIENCE).await.unwrap();
        assert_eq!(answer, Answer::Missing, "what stays changes no answer");
        assert_eq!(keeps.left().as_deref(), Some("made-1"));
        assert!(ask_at(&keeps, PATIENCE).await.is_err(), "it was not asked");
        assert_eq!(keeps.left().as_deref(), Some("made-1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_somebody_takes_away_says_nothing() {
        let meddled = Member {
            removed_at: Some(2),
            ..Member::default()
        };
        assert_eq!(ask_at(&meddled, PATIENCE).await.unwrap(), Answer::Lost);
    }
}
