//! `touchline admin`: the first admin, and what staff may do.

use crate::UsageError;
use crate::cli::InstanceOptions;
use crate::instance::ServerUrls;
use crate::roles::Parts;
use crate::system::System;
use crate::up::say;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::str::FromStr;
use std::time::Duration;
use touchline_commands::identity::{self, Identity, SignUp, SignUpError};
use touchline_commands::permissions::{self, ChangePermissionError};
use touchline_commands::{Outcome, Password};
use touchline_domain::audit::Slice;
use touchline_domain::id::UserId;
use touchline_domain::identity::{Account, Gender, Handle, Permission, RoleDetails};
use touchline_projections::history::{HistoryReader, PAGE_EVENTS_MAX};
use touchline_projections::{Freshness, registry};

/// How long the index on the log is waited for.
const INDEX_PATIENCE: Duration = Duration::from_secs(30);
/// The longest password that is read, in bytes; longer ones are refused further in.
const PASSWORD_BYTES_MAX: u64 = 4_096;

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Make the account of the first admin. Its password is made too, and printed once
    Create(CreateOptions),
    /// Let an account do what staff do
    Grant(ChangeOptions),
    /// Let an account do that no more
    Revoke(ChangeOptions),
    /// Who may do what
    List(ListOptions),
}

#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// The address to sign in with
    #[arg(long, value_name = "ADDRESS")]
    email: String,
    /// The public short name
    #[arg(long)]
    handle: String,
    /// The public full name
    #[arg(long, value_name = "NAME")]
    display_name: String,
    /// The sport that the account is about
    #[arg(long, default_value = "football")]
    sport: String,
    /// Read the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeOptions {
    /// The account: an id or a handle
    #[arg(value_name = "ID|HANDLE")]
    who: String,
    /// moderator, responder, auditor, `auditor_personal`, `data_engineer` or admin
    #[arg(value_name = "PERMISSION")]
    permission: String,
    #[command(flatten)]
    instance: InstanceOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Accounts as JSON, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

/// Runs one of them.
pub(crate) async fn admin(command: AdminCommand) -> anyhow::Result<()> {
    match command {
        AdminCommand::Create(options) => create(options).await,
        AdminCommand::Grant(options) => change(&options, true).await,
        AdminCommand::Revoke(options) => change(&options, false).await,
        AdminCommand::List(options) => list(&options).await,
    }
}

async fn create(options: CreateOptions) -> anyhow::Result<()> {
    let made = (!options.password_stdin).then(System::password);
    let password = match &made {
        Some(password) => password.clone(),
        None => read_password()?,
    };
    let sign_up = SignUp {
        email: value("--email", &options.email)?,
        password: Password::parse(&password)
            .map_err(|error| UsageError::new(format!("the password {error}")))?,
        handle: value("--handle", &options.handle)?,
        display_name: value("--display-name", &options.display_name)?,
        sport: value("--sport", &options.sport)?,
        gender: Gender::Undisclosed,
        role: RoleDetails::Fan,
    };
    let parts = Parts::prepare(&ServerUrls::of(&options.instance)?, false).await?;
    let envelope = parts.identity.bus.envelope(None);
    let created = identity::create_root(&parts.identity, &envelope, sign_up).await;
    parts.close().await;
    let created = created.map_err(explain_create)?;
    say(&format!(
        "{} is the first admin: {}",
        options.handle, created.id
    ))?;
    if let Some(password) = made {
        say(&format!("Its password is {password} and is shown only now"))?;
    }
    Ok(())
}

fn explain_create(error: SignUpError) -> anyhow::Error {
    match error {
        SignUpError::RootTaken => {
            UsageError::new("there is a first admin already: `touchline admin grant` makes others")
                .into()
        }
        SignUpError::EmailTaken | SignUpError::HandleTaken => {
            UsageError::new(error.to_string()).into()
        }
        SignUpError::Refused(reason) => UsageError::new(reason.to_string()).into(),
        error => anyhow::Error::from(error).context("the account was not made"),
    }
}

/// The first line of standard input.
fn read_password() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(PASSWORD_BYTES_MAX)
        .read_to_string(&mut text)
        .context("the password cannot be read from standard input")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn value<T: FromStr>(option: &str, text: &str) -> Result<T, UsageError>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error| UsageError::new(format!("{option} {error}")))
}

async fn change(options: &ChangeOptions, granted: bool) -> anyhow::Result<()> {
    let permission: Permission = value("the permission", &options.permission)?;
    let parts = Parts::prepare(&ServerUrls::of(&options.instance)?, false).await?;
    let changed = change_one(&parts.identity, &options.who, permission, granted).await;
    parts.close().await;
    let changed = changed?;
    let permissions = changed.state.registration().map(|it| &it.permissions);
    let permissions = permissions.map(words).unwrap_or_default();
    say(&format!("{} may: {permissions}", options.who))
}

async fn change_one(
    identity: &Identity,
    who: &str,
    permission: Permission,
    granted: bool,
) -> anyhow::Result<Outcome<Account>> {
    let nobody = || UsageError::new(format!("{who} is neither the id nor the handle of anybody"));
    let user_id = find(identity, who).await?.ok_or_else(nobody)?;
    let envelope = identity.bus.envelope(None);
    let changed = if granted {
        permissions::grant(&identity.bus, &envelope, user_id, permission).await
    } else {
        permissions::revoke(&identity.bus, &envelope, user_id, permission).await
    };
    changed.map_err(|error| match error {
        ChangePermissionError::NotFound => nobody().into(),
        ChangePermissionError::NotActive => UsageError::new(format!(
            "{who} waits for approval: only an active account can be staff"
        ))
        .into(),
        ChangePermissionError::IsRoot => UsageError::new(error.to_string()).into(),
        ChangePermissionError::Failed(failure) => failure.into(),
    })
}

/// The account with this id or handle.
pub(crate) async fn find(identity: &Identity, who: &str) -> anyhow::Result<Option<UserId>> {
    match (who.parse(), Handle::parse(who)) {
        (Ok(user_id), _) => Ok(Some(user_id)),
        (Err(_), Ok(handle)) => Ok(identity.owner_of_handle(&handle).await?),
        (Err(_), Err(_)) => Ok(None),
    }
}

fn words(permissions: &BTreeSet<Permission>) -> String {
    let words: Vec<_> = permissions.iter().map(|it| it.as_str()).collect();
    if words.is_empty() {
        "nothing as staff".to_owned()
    } else {
        words.join(", ")
    }
}

/// One account with a permission.
#[derive(Serialize)]
struct Staff {
    user_id: UserId,
    handle: String,
    is_root: bool,
    permissions: BTreeSet<Permission>,
}

async fn list(options: &ListOptions) -> anyhow::Result<()> {
    let parts = Parts::prepare(&ServerUrls::of(&options.instance)?, false).await?;
    let found = staff(&parts).await;
    parts.close().await;
    for staff in found? {
        if options.json {
            say(&serde_json::to_string(&staff)?)?;
        } else {
            let root = if staff.is_root {
                ", the first admin"
            } else {
                ""
            };
            let (handle, words) = (&staff.handle, words(&staff.permissions));
            say(&format!("{}  {handle}{root}: {words}", staff.user_id))?;
        }
    }
    Ok(())
}

/// Whoever was ever granted a permission, and has one.
async fn staff(parts: &Parts) -> anyhow::Result<Vec<Staff>> {
    let freshness = Freshness::new(parts.store.pool().clone(), &registry::names(), &[]);
    let reader = HistoryReader::new(parts.store.clone(), freshness);
    let mut known = BTreeSet::new();
    for event_type in ["identity.root_appointed", "identity.permission_granted"] {
        let slice = Slice {
            event_type: Some(event_type.to_owned()),
            ..Slice::whole()
        };
        let mut walk = reader.walk(slice, INDEX_PATIENCE).await?;
        while !walk.is_at_end() {
            let events = walk.page(PAGE_EVENTS_MAX).await?;
            known.extend(events.into_iter().map(|event| event.aggregate_id));
        }
    }
    let mut staff = Vec::new();
    for id in known {
        let account = parts.store.load::<Account>(id.parse()?).await?.state;
        if let Some(account) = account.registration()
            && !account.permissions.is_empty()
        {
            staff.push(Staff {
                user_id: account.user_id,
                handle: account.handle.as_str().to_owned(),
                is_root: account.is_root,
                permissions: account.permissions.clone(),
            });
        }
    }
    Ok(staff)
}
