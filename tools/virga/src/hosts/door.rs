//! The answering side: a route of the front door.
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt, Limited};
use virga_identity::Identity;
use virga_identity_api::local::RoleSource;
use virga_identity_api::verify::Directory;
use virga_node::clock::Clock;
use virga_node::task::Tasks;
use virga_s3::keys::KeySource;

use super::seal::{Seal, Side};
use super::{Answer, Asked, HeldKey, MAX_QUESTION, PATH, Question};

/// How far the clocks of two hosts may be apart: older questions are refused,
/// so that one that somebody recorded is of no use for long.
const SKEW: Duration = Duration::from_secs(60);
/// How long a question for revocations waits for one.
const WAIT: Duration = Duration::from_secs(5);
/// Between looks while it waits.
const LOOK: Duration = Duration::from_millis(50);

/// Who answers.
pub struct Door {
    /// Opens questions, seals answers.
    pub seal: Seal,
    /// The service that knows.
    pub identity: Identity,
    /// Who holds a key of S3.
    pub keys: Arc<dyn KeySource>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ends the waits when the daemon stops.
    pub tasks: Tasks,
}

struct Answering {
    door: Door,
    roles: Arc<dyn RoleSource>,
    directory: Arc<dyn Directory>,
    /// Tells this process from one before it, whose generations are others.
    run: u64,
}

/// The route.
pub fn router(door: Door) -> Router {
    let answering = Answering {
        roles: door.identity.role_source(),
        directory: door.identity.directory(),
        run: RandomState::new().hash_one(door.clock.now()),
        door,
    };
    let answering = Arc::new(answering);
    Router::new().route(PATH, post(answer).with_state(answering))
}

async fn answer(State(answering): State<Arc<Answering>>, request: Request<Body>) -> Response {
    let refused = |status: StatusCode, why: String| (status, why).into_response();
    let body = match Limited::new(request.into_body(), MAX_QUESTION).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refused(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let (id, opened) = match answering.door.seal.open(Side::Question, &body) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(%error, "a question of another host cannot be opened");
            return refused(StatusCode::FORBIDDEN, error.to_string());
        }
    };
    let asked: Asked = match serde_json::from_slice(&opened) {
        Ok(asked) => asked,
        Err(error) => {
            let why = format!("not a question of this version: {error}");
            return refused(StatusCode::BAD_REQUEST, why);
        }
    };
    let now = answering.door.clock.now();
    if asked.at.since(now).max(now.since(asked.at)) > SKEW {
        let why = format!("the clocks of the hosts are more than {} s apart", SKEW.as_secs());
        return refused(StatusCode::FORBIDDEN, why);
    }
    let answer = answering.answer(asked.question).await;
    let sealed = serde_json::to_vec(&answer)
        .map_err(|e| e.to_string())
        .and_then(|text| {
            let closed = answering.door.seal.close(Side::Answer(id), text);
            closed.map_err(|e| e.to_string())
        });
    match sealed {
        Ok((_, sealed)) => (StatusCode::OK, sealed).into_response(),
        Err(why) => refused(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

impl Answering {
    async fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Revocations { run, after } => self.revocations(run, after).await,
            Question::Resolve(token) => Answer::Resolved(self.roles.resolve(&token).await),
            Question::AccessRules(id) => Answer::AccessRules(self.roles.access_rules(&id).await),
            Question::User(id) => Answer::Named(self.directory.user(&id).await),
            Question::Project(id) => Answer::Named(self.directory.project(&id).await),
            Question::Key(access) => match self.door.keys.key(&access).await {
                Ok(key) => Answer::Key(key.map(|key| HeldKey {
                    secret: key.secret.to_string(),
                    caller: (*key.caller).clone(),
                })),
                Err(error) => Answer::Failed(error.to_string()),
            },
        }
    }

    /// What is new; waits a while for something.
    async fn revocations(&self, run: u64, after: u64) -> Answer {
        let list = self.door.identity.revocations();
        let after = if run == self.run { after } else { 0 };
        let stop = self.door.tasks.stopping();
        let news = async {
            while run == self.run && list.generation() == after {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep(WAIT) => {}
            () = stop.cancelled() => {}
        }
        Answer::Revocations {
            run: self.run,
            told: list.after(after),
        }
    }
}
