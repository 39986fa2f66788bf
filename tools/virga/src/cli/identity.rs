//! The flags of `virga policy` and `virga audit`.
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

/// How `virga policy` is used.
const POLICY_HELP: &str = "\
  virga policy list                                            every action, its rule, and where it comes from
  virga policy explain --user demo --project demo identity:create_user
  virga policy explain --user ann --domain default identity:update_user user_id=4f2c...
  virga policy explain --user ann --system --json identity:list_users

TARGET says what the action is done to, in the names that rules use: user_id=ID (its attributes are looked up; so
for group_id, role_id, project_id, domain_id), or any name by itself: target.user.domain_id=default.

The answer comes from the running cloud, by the evaluator that judges requests, through the control socket in the
data folder. Exit codes of explain: 0 allowed, 1 not allowed, 2 cannot tell.";

/// Flags of `virga policy`.
#[derive(Debug, Clone, Args)]
#[command(after_help = POLICY_HELP)]
pub struct Policy {
    /// The data folder of the process with the role identity
    #[arg(long, default_value = "./virga-data", global = true)]
    pub data: PathBuf,
    /// Machine-readable output: one JSON document
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: PolicyVerb,
}

/// What there is to know of policy.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyVerb {
    /// Every action with its rule
    List {
        /// Only those whose name has this in it
        part: Option<String>,
    },
    /// Why a user may do something, or not, and what is missing
    Explain(Explain),
}

/// Flags of `virga policy explain`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("scope").args(["project", "domain", "system"]))]
pub struct Explain {
    /// The user: id, name, or NAME@DOMAIN
    #[arg(long)]
    pub user: String,
    /// As with a token for this project: id, name, or NAME@DOMAIN
    #[arg(long)]
    pub project: Option<String>,
    /// As with a token for this domain: id or name
    #[arg(long)]
    pub domain: Option<String>,
    /// As with a token for the whole cloud
    #[arg(long)]
    pub system: bool,
    /// The action: identity:create_user
    pub action: String,
    /// What it is done to: NAME=VALUE
    #[arg(value_parser = pair)]
    pub target: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE: user_id=4f2c..., target.user.domain_id=default".to_owned()),
    }
}

/// How `virga audit` is used.
const AUDIT_HELP: &str = "\
  virga audit                                     what happened last
  virga audit --since 2h --user 4f2c...           by or to a user
  virga audit --kind sign-in --action failed      who could not sign in
  virga audit --as-of 2026-11-01T00:00:00Z --kind 'role assignment'
                                                  who had which role then
  virga audit verify                              go through the chain of hashes; note what it prints
  virga audit verify --expect 4711:9fb1...        and that a noted head is still in it
  virga audit export audit.jsonl                  all of it, into a file
  virga audit verify audit.jsonl                  the same without any cloud

Times are 2026-11-22T15:00:00Z, or how long ago: 90s, 15m, 2h, 7d. Asks through the control socket in the data
folder. Exit codes of verify: 0 whole, 1 not whole, 2 cannot tell.";

/// Flags of `virga audit`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AUDIT_HELP)]
pub struct Audit {
    /// The data folder of the process with the role identity
    #[arg(long, default_value = "./virga-data", global = true)]
    pub data: PathBuf,
    /// Machine-readable output: one JSON document
    #[arg(long, global = true)]
    pub json: bool,
    /// Not before this time
    #[arg(long)]
    pub since: Option<String>,
    /// Before this time
    #[arg(long)]
    pub until: Option<String>,
    /// How things stood at this time, instead of what happened
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<String>,
    /// Id of a user who did it, or to whom it was done
    #[arg(long)]
    pub user: Option<String>,
    /// What happened: created, updated, deleted, failed, ...
    #[arg(long)]
    pub action: Option<String>,
    /// Kind of resource: user, project, 'role assignment', sign-in, ...
    #[arg(long)]
    pub kind: Option<String>,
    /// Id of a resource
    #[arg(long)]
    pub id: Option<String>,
    /// Records at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<AuditVerb>,
}

/// What there is to do with the audit.
#[derive(Debug, Clone, Subcommand)]
pub enum AuditVerb {
    /// Go through the chain of hashes
    Verify {
        /// A file of `virga audit export`, in place of the running cloud
        file: Option<PathBuf>,
        /// A head that was noted before must be in the chain
        #[arg(long, value_name = "SEQUENCE:HASH")]
        expect: Option<String>,
    },
    /// Write all of it into a file that can be verified without the cloud
    Export {
        /// The file; must not be there yet
        file: PathBuf,
    },
}
