//! The asking side, in a process without identity.
//!
//! [`Link::follow`] keeps the list of revocations in step with identity's, a
//! moment behind; the rest is asked when it is needed. While identity cannot be
//! reached tokens are verified as before, by what was known last; what must be
//! asked is refused as unavailable.
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use virga_http::outward::{Bounds, Outward};
use virga_identity_api::access_rule::AccessRule;
use virga_identity_api::local::{Resolved, RoleSource};
use virga_identity_api::payload::Payload;
use virga_identity_api::recent::Recent;
use virga_identity_api::revocation::Revocations;
use virga_identity_api::verify::{Directory, Named, TokenError};
use virga_node::clock::{Clock, Micros};
use virga_node::health::{Reporter, State};
use virga_node::task::Tasks;
use virga_s3::keys::{Key, KeySource, KeysUnavailable};
use zeroize::Zeroizing;

use super::seal::{Seal, Side};
use super::{Answer, Asked, MAX_ANSWER, PATH, Question};

/// How long identity may take. A question for revocations waits for some.
const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(3),
    answer: Duration::from_secs(15),
    body: MAX_ANSWER,
};
/// Wait before another try, when identity cannot be asked.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a name is believed, also that there is none.
const NAMES: Duration = Duration::from_secs(5);
/// Names remembered at most, in each of two halves.
const MOST_NAMES: usize = 4096;

/// Names by whether it is a user's and the id, and until when each is believed.
type Names = Recent<(bool, String), (Micros, Option<Named>)>;

/// Asks identity on another host.
#[derive(Debug)]
pub struct Link {
    outward: Outward,
    url: Uri,
    seal: Seal,
    clock: Arc<dyn Clock>,
    names: Mutex<Names>,
}

impl Link {
    /// Asks the front door at `url`, whose certificate is of an authority in
    /// `ca_file` (else of one that the system trusts), if it has one.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(
        url: &str,
        ca_file: Option<&Path>,
        node_secret: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let whole = format!("{}{PATH}", url.trim_end_matches('/'));
        let parsed: Uri = whole.parse().map_err(|e| format!("identity_url: {url}: {e}"))?;
        if parsed.host().is_none() || !matches!(parsed.scheme_str(), Some("http" | "https")) {
            return Err(format!(
                "identity_url: {url}: the URL of the front door, as in http://10.0.0.1:5000"
            ));
        }
        Ok(Self {
            outward: Outward::new(ca_file, BOUNDS).map_err(|e| format!("identity_ca: {e}"))?,
            url: parsed,
            seal: Seal::new(node_secret).map_err(|e| e.to_string())?,
            clock,
            names: Mutex::new(Recent::new(MOST_NAMES)),
        })
    }

    async fn ask(&self, question: Question) -> Result<Answer, String> {
        let asked = Asked {
            at: self.clock.now(),
            question,
        };
        let text = serde_json::to_vec(&asked).map_err(|e| e.to_string())?;
        let (id, sealed) = self.seal.close(Side::Question, text).map_err(|e| e.to_string())?;
        let request = Request::post(self.url.clone()).body(Full::new(Bytes::from(sealed)));
        let answer = self.outward.ask(request.map_err(|e| e.to_string())?).await?;
        if answer.status() != StatusCode::OK {
            let why: String = String::from_utf8_lossy(answer.body()).chars().take(200).collect();
            return Err(format!("{} answers {}: {why}", self.url, answer.status()));
        }
        let opened = self.seal.open(Side::Answer(id), answer.body());
        let (_, text) = opened.map_err(|e| format!("{}: {e}", self.url))?;
        serde_json::from_slice(&text).map_err(|e| format!("{}: not an answer of this version: {e}", self.url))
    }

    /// Keeps `list` in step until the daemon stops, and says how that goes.
    pub fn follow(self: &Arc<Self>, list: Arc<Revocations>, health: Reporter, tasks: &Tasks) {
        let (link, stop) = (self.clone(), tasks.stopping());
        tasks.supervise("revocations", move || {
            let (link, list, health, stop) = (link.clone(), list.clone(), health.clone(), stop.clone());
            async move {
                tokio::select! {
                    () = link.keep_up(&list, &health) => {}
                    () = stop.cancelled() => {}
                }
            }
        });
    }

    async fn keep_up(&self, list: &Revocations, health: &Reporter) {
        let (mut run, mut after) = (0, 0);
        let mut failing = false;
        loop {
            let told = match self.ask(Question::Revocations { run, after }).await {
                Ok(Answer::Revocations { run: of, told }) => {
                    (run, after) = (of, told.generation);
                    Ok(told)
                }
                Ok(_) => Err(format!("{}: an answer to another question", self.url)),
                Err(why) => Err(why),
            };
            match told {
                Ok(told) => {
                    let now = self.clock.now();
                    list.refuse_until(told.floor);
                    for event in told.events {
                        list.add(event, now);
                    }
                    if failing {
                        tracing::info!("identity is heard of again");
                    }
                    failing = false;
                    health.ready();
                }
                Err(why) => {
                    if !failing {
                        tracing::warn!(
                            why,
                            "identity cannot be asked: what it revokes now is not known here"
                        );
                    }
                    failing = true;
                    health.report(State::Degraded(format!(
                        "what identity revokes is not heard of: {why}"
                    )));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn named(&self, is_user: bool, id: &str) -> Option<Named> {
        let key = (is_user, id.to_owned());
        let now = self.clock.now();
        let known = self.names().get(&key);
        if let Some((until, named)) = known
            && until > now
        {
            return named;
        }
        let question = match is_user {
            true => Question::User(id.to_owned()),
            false => Question::Project(id.to_owned()),
        };
        match self.ask(question).await {
            Ok(Answer::Named(named)) => {
                self.names().put(key, (now.plus(NAMES), named.clone()));
                named
            }
            Ok(_) => None,
            Err(why) => {
                tracing::warn!(why, "a name cannot be looked up");
                None
            }
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn other() -> TokenError {
    TokenError::Unavailable("identity answers another question".to_owned())
}

#[async_trait]
impl RoleSource for Link {
    async fn resolve(&self, token: &Payload) -> Result<Resolved, TokenError> {
        match self.ask(Question::Resolve(Box::new(token.clone()))).await {
            Ok(Answer::Resolved(outcome)) => outcome,
            Ok(_) => Err(other()),
            Err(why) => Err(TokenError::Unavailable(why)),
        }
    }

    async fn access_rules(&self, credential_id: &str) -> Result<Option<Vec<AccessRule>>, TokenError> {
        match self.ask(Question::AccessRules(credential_id.to_owned())).await {
            Ok(Answer::AccessRules(outcome)) => outcome,
            Ok(_) => Err(other()),
            Err(why) => Err(TokenError::Unavailable(why)),
        }
    }
}

#[async_trait]
impl Directory for Link {
    async fn user(&self, id: &str) -> Option<Named> {
        self.named(true, id).await
    }

    async fn project(&self, id: &str) -> Option<Named> {
        self.named(false, id).await
    }
}

#[async_trait]
impl KeySource for Link {
    async fn key(&self, access: &str) -> Result<Option<Key>, KeysUnavailable> {
        match self.ask(Question::Key(access.to_owned())).await {
            Ok(Answer::Key(held)) => Ok(held.map(|held| Key {
                secret: Zeroizing::new(held.secret),
                caller: Arc::new(held.caller),
            })),
            Ok(Answer::Failed(why)) => Err(KeysUnavailable(why)),
            Ok(_) => Err(KeysUnavailable("identity answers another question".into())),
            Err(why) => Err(KeysUnavailable(why)),
        }
    }
}
