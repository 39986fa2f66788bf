//! What the control socket answers about identity: policy rules, the object
//! store's too, and the audit. Whoever may open the data folder may ask, as with
//! everything on that socket.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use virga_identity::{AuditQuery, Identity, PolicyAnswer, PolicyQuestion};
use virga_identity_api::policy::{ListedRule, PolicyError, Rules, ScopeKind};
use virga_proxy::swift::actions;
use virga_proxy::swift::config::Config as SwiftConfig;
use virga_state::FeedEntry;
use virga_state::chain::{Link, Verdict};

use crate::Failure;
use crate::control;

/// Where the audit's chain begins and ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ends {
    /// The entry before the first.
    pub anchor: Link,
    /// The newest entry.
    pub head: Link,
}

/// What answers.
#[derive(Clone)]
pub struct Answering {
    identity: Identity,
    /// What roles allow in the object store, in both dialects.
    object_rules: Arc<Rules>,
}

impl Answering {
    /// Of identity, and of an object store with these settings.
    ///
    /// # Errors
    /// A role in the settings has a name that no rule can hold.
    pub fn new(identity: Identity, swift: &SwiftConfig) -> Result<Self, PolicyError> {
        let rules = actions::rules(swift)
            .into_iter()
            .chain(virga_s3::policy_rules(swift));
        let rules = rules.map(|(name, check)| (name.to_owned(), check));
        Ok(Self {
            identity,
            object_rules: Arc::new(Rules::fixed(rules, &[ScopeKind::Project])?),
        })
    }
}

/// An answer, or a sentence for the person who asked.
type Answer<T> = Json<Result<T, String>>;

fn told<T, E: ToString>(outcome: Result<T, E>) -> Answer<T> {
    Json(outcome.map_err(|error| error.to_string()))
}

/// The routes of a process with the role identity.
pub fn routes(answering: Answering) -> Router {
    Router::new()
        .route("/policy/rules", get(rules))
        .route("/policy/explain", post(explain))
        .route("/audit/records", post(records))
        .route("/audit/verify", post(verify))
        .route("/audit/ends", get(ends))
        .route("/audit/entries/{after}", get(entries))
        .with_state(answering)
}

async fn rules(State(asked): State<Answering>) -> Answer<Vec<ListedRule>> {
    let mut all = asked.identity.policy_rules();
    all.extend(asked.object_rules.list());
    Json(Ok(all))
}

async fn explain(
    State(asked): State<Answering>,
    Json(question): Json<PolicyQuestion>,
) -> Answer<PolicyAnswer> {
    let objects = &asked.object_rules;
    told(match is_of_objects(&question.action) {
        true => asked.identity.explain_by(objects, &question).await,
        false => asked.identity.explain_policy(&question).await,
    })
}

/// Whether an action is the object store's, which judges by itself.
pub fn is_of_objects(action: &str) -> bool {
    ["object-store:", "s3:"]
        .iter()
        .any(|service| action.starts_with(service))
}

async fn records(State(asked): State<Answering>, Json(query): Json<AuditQuery>) -> Answer<Vec<Value>> {
    told(asked.identity.audit(&query).await)
}

async fn verify(State(asked): State<Answering>, Json(expected): Json<Option<Link>>) -> Answer<Verdict> {
    told(asked.identity.verify_audit(expected).await)
}

async fn ends(State(asked): State<Answering>) -> Answer<Ends> {
    let ends = asked.identity.audit_ends().await;
    told(ends.map(|(anchor, head)| Ends { anchor, head }))
}

async fn entries(State(asked): State<Answering>, UrlPath(after): UrlPath<i64>) -> Answer<Vec<FeedEntry>> {
    told(asked.identity.audit_entries(after).await)
}

/// Who asks the process with the role identity on a data folder.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    socket: PathBuf,
}

impl Client {
    /// Finds the process.
    ///
    /// # Errors
    /// None runs on the folder (`Usage`: it cannot be told).
    pub fn find(data: &Path) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let mut silent = None;
        for socket in control::sockets(data).map_err(Failure::Usage)? {
            match runtime.block_on(control::ask(&socket)) {
                Ok(status) if status.roles.iter().any(|role| role == "identity") => {
                    return Ok(Self { runtime, socket });
                }
                Ok(_) => {}
                Err(why) => silent = Some(why),
            }
        }
        let shown = data.display();
        Err(Failure::Usage(silent.unwrap_or_else(|| {
            format!("{shown}: no process with the role identity runs on this folder; say which with --data")
        })))
    }

    /// Asks; a refusal is a wrong question.
    fn answer<T>(&self, outcome: Result<Result<T, String>, String>) -> Result<T, Failure> {
        outcome.map_err(Failure::Usage)?.map_err(Failure::Usage)
    }

    /// Every policy rule.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn rules(&self) -> Result<Vec<ListedRule>, Failure> {
        self.answer(
            self.runtime
                .block_on(control::get_from(&self.socket, "/policy/rules")),
        )
    }

    /// Why somebody may do something, or not.
    ///
    /// # Errors
    /// Nobody answers, or who or what is meant is not there.
    pub fn explain(&self, question: &PolicyQuestion) -> Result<PolicyAnswer, Failure> {
        let asked = control::post_to(&self.socket, "/policy/explain", question);
        self.answer(self.runtime.block_on(asked))
    }

    /// Records of the audit.
    ///
    /// # Errors
    /// Nobody answers, or a time cannot be read.
    pub fn records(&self, query: &AuditQuery) -> Result<Vec<Value>, Failure> {
        let asked = control::post_to(&self.socket, "/audit/records", query);
        self.answer(self.runtime.block_on(asked))
    }

    /// What going through the chain brought.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn verify(&self, expected: &Option<Link>) -> Result<Verdict, Failure> {
        let asked = control::post_to(&self.socket, "/audit/verify", expected);
        self.answer(self.runtime.block_on(asked))
    }

    /// Where the chain begins and ends.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn ends(&self) -> Result<Ends, Failure> {
        self.answer(
            self.runtime
                .block_on(control::get_from(&self.socket, "/audit/ends")),
        )
    }

    /// Entries after a position, as they are hashed.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn entries(&self, after: i64) -> Result<Vec<FeedEntry>, Failure> {
        let path = format!("/audit/entries/{after}");
        self.answer(self.runtime.block_on(control::get_from(&self.socket, &path)))
    }
}

/// Prints; a reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// What the system says.
pub fn say(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::Failed(e.to_string())),
        _ => Ok(()),
    }
}

/// Prints as JSON.
///
/// # Errors
/// What the system says.
pub fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    say(&serde_json::to_string_pretty(value).map_err(|e| e.to_string())?)
}
