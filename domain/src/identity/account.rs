//! The account aggregate: one stream per person or organisation.

use super::{
    AccountApproved, AccountErased, AccountEvent, AccountRegistered, AccountStatus, DisplayName,
    Email, Gender, Handle, Permission, PermissionGranted, PermissionRevoked, Role, RoleDetails,
    RootAppointed, Sport,
};
use crate::aggregate::Decider;
use crate::clock::Timestamp;
use crate::cqrs_aggregate;
use crate::id::UserId;
use crate::personal::Personal;
use chrono::Datelike;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use thiserror::Error;

/// An account, as its events tell it. Its size is bounded by the limits of its values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// Nobody has signed up under this id.
    #[default]
    Absent,
    /// Somebody has.
    Registered(Box<Registration>),
    /// Somebody had, and is forgotten.
    Erased,
}

/// What is known of a registered account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The account.
    pub user_id: UserId,
    /// The address that signs in.
    pub email: Personal<Email>,
    /// The public short name.
    pub handle: Personal<Handle>,
    /// The full name given at sign-up, which counts until the profile has its own.
    pub display_name: Personal<DisplayName>,
    /// The sport that the account is about.
    pub sport: Personal<Sport>,
    /// As told by the person.
    pub gender: Personal<Gender>,
    /// The role.
    pub role: Role,
    /// The fields that the role demands.
    pub role_details: Personal<RoleDetails>,
    /// Whether the account may act.
    pub status: AccountStatus,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// What it may do as staff.
    pub permissions: BTreeSet<Permission>,
    /// Whether it is the first admin, who is neither demoted nor erased.
    pub is_root: bool,
}

impl Account {
    /// What is known of the account; none when nobody has signed up under its id,
    /// or who had is erased.
    #[must_use]
    pub fn registration(&self) -> Option<&Registration> {
        match self {
            Self::Absent | Self::Erased => None,
            Self::Registered(registration) => Some(registration),
        }
    }

    /// Whether the account may act; none when nobody has signed up under its id,
    /// or who had is erased.
    #[must_use]
    pub fn status(&self) -> Option<AccountStatus> {
        self.registration().map(|known| known.status)
    }

    /// Whether the account may act, and may do this as staff.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.registration().is_some_and(|known| {
            known.status == AccountStatus::Active && known.permissions.contains(&permission)
        })
    }
}

/// What may be asked of an account.
#[derive(Debug, Clone, PartialEq)]
pub enum AccountCommand {
    /// Sign up.
    Register(Register),
    /// Make the first admin, whose account this is.
    RegisterRoot(Register),
    /// Let a waiting account in.
    Approve(Approve),
    /// Let an account do what staff do.
    Grant(ChangePermission),
    /// Let an account do that no more.
    Revoke(ChangePermission),
    /// Forget the person.
    Erase(Erase),
}

/// Sign somebody up. That the e-mail address and the handle are free is for the log's claims to
/// say, since it spans accounts.
#[derive(Debug, Clone, PartialEq)]
pub struct Register {
    /// The new account.
    pub user_id: UserId,
    /// The address that signs in.
    pub email: Email,
    /// The public short name.
    pub handle: Handle,
    /// The public full name.
    pub display_name: DisplayName,
    /// The sport that the account is about.
    pub sport: Sport,
    /// As told by the person.
    pub gender: Gender,
    /// The role with its fields.
    pub role: RoleDetails,
    /// Now.
    pub at: Timestamp,
}

/// Let a waiting account in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approve {
    /// Who approves; none for the operator at the command line.
    pub approved_by: Option<UserId>,
    /// Now.
    pub at: Timestamp,
}

/// Grant or revoke a permission. Done again, it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePermission {
    /// Which.
    pub permission: Permission,
    /// Who changes it; none for the operator at the command line.
    pub changed_by: Option<UserId>,
    /// Now.
    pub at: Timestamp,
}

/// Forget a person, with everything that they wrote. Done again, it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erase {
    /// Who erases; none for the operator at the command line.
    pub erased_by: Option<UserId>,
    /// The account: its id is all that is left of it.
    pub user_id: UserId,
    /// Now.
    pub at: Timestamp,
}

/// Why an account refuses a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AccountError {
    /// Somebody has already signed up under this id.
    #[error("the account is already registered")]
    AlreadyRegistered,
    /// Nobody has signed up under this id.
    #[error("the account is not registered")]
    NotRegistered,
    /// The handle is a reserved word.
    #[error("the handle is reserved")]
    HandleReserved,
    /// A player of cricket without a cricket role.
    #[error("a player of cricket needs a cricket role")]
    CricketRoleMissing,
    /// A player of another sport with a cricket role.
    #[error("only a player of cricket has a cricket role")]
    CricketRoleWithoutCricket,
    /// Born after the year of signing up.
    #[error("the year of birth lies in the future")]
    BirthYearInFuture,
    /// The account's role never waits for an approval.
    #[error("the account does not wait for approval")]
    NotWaiting,
    /// The account may not act, so that it can be no staff.
    #[error("the account is not active")]
    NotActive,
    /// It is the first admin's, without whom nobody could grant anything.
    #[error("the first admin can be neither demoted nor erased")]
    IsRoot,
}

impl Decider for Account {
    const TYPE: &'static str = "account";
    /// Staff come and go for a few decades.
    const EVENTS_MAX: u32 = 1_000;
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountError;

    fn decide(&self, command: AccountCommand) -> Result<Vec<AccountEvent>, AccountError> {
        match command {
            AccountCommand::Register(command) => self.register(command),
            AccountCommand::RegisterRoot(command) => self.register_root(command),
            AccountCommand::Approve(command) => self.approve(&command),
            AccountCommand::Grant(command) => self.grant(&command),
            AccountCommand::Revoke(command) => self.revoke(&command),
            AccountCommand::Erase(command) => self.erase(&command),
        }
    }

    fn takes_back(command: &AccountCommand) -> bool {
        matches!(
            command,
            AccountCommand::Revoke(_) | AccountCommand::Erase(_)
        )
    }

    fn evolve(&mut self, event: &AccountEvent) {
        match (event, self) {
            (AccountEvent::AccountRegistered(event), this) => {
                *this = Self::Registered(Box::new(Registration::of(event)));
            }
            (AccountEvent::AccountErased(_), this) => *this = Self::Erased,
            (event, Self::Registered(registration)) => registration.evolve(event),
            (_, Self::Absent | Self::Erased) => {}
        }
    }
}

cqrs_aggregate!(Account);

impl Registration {
    fn of(event: &AccountRegistered) -> Self {
        Self {
            user_id: event.user_id,
            email: event.email.clone(),
            handle: event.handle.clone(),
            display_name: event.display_name.clone(),
            sport: event.sport.clone(),
            gender: event.gender,
            role: event.role,
            role_details: event.role_details.clone(),
            status: event.status,
            registered_at: event.registered_at,
            permissions: BTreeSet::new(),
            is_root: false,
        }
    }

    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::AccountApproved(_) => self.status = AccountStatus::Active,
            AccountEvent::RootAppointed(_) => {
                self.is_root = true;
                self.permissions.insert(Permission::Admin);
            }
            AccountEvent::PermissionGranted(event) => {
                self.permissions.insert(event.permission);
            }
            AccountEvent::PermissionRevoked(event) => {
                self.permissions.remove(&event.permission);
            }
            AccountEvent::AccountRegistered(_) | AccountEvent::AccountErased(_) => {}
        }
    }
}

impl Account {
    fn register(&self, command: Register) -> Result<Vec<AccountEvent>, AccountError> {
        if !matches!(self, Self::Absent) {
            return Err(AccountError::AlreadyRegistered);
        }
        if command.handle.is_reserved() {
            return Err(AccountError::HandleReserved);
        }
        check_player(&command)?;
        let status = command.role.role().first_status();
        Ok(vec![
            AccountRegistered {
                user_id: command.user_id,
                email: command.email.into(),
                handle: command.handle.into(),
                display_name: command.display_name.into(),
                sport: command.sport.into(),
                gender: command.gender.into(),
                role: command.role.role(),
                role_details: command.role.into(),
                status,
                registered_at: command.at,
            }
            .into(),
        ])
    }

    fn register_root(&self, command: Register) -> Result<Vec<AccountEvent>, AccountError> {
        let appointed = RootAppointed {
            user_id: command.user_id,
            appointed_at: command.at,
        };
        if command.role.role().first_status() != AccountStatus::Active {
            return Err(AccountError::NotActive);
        }
        let mut events = self.register(command)?;
        events.push(appointed.into());
        Ok(events)
    }

    fn grant(&self, command: &ChangePermission) -> Result<Vec<AccountEvent>, AccountError> {
        let registration = self.registration().ok_or(AccountError::NotRegistered)?;
        if registration.permissions.contains(&command.permission) {
            return Ok(Vec::new());
        }
        if registration.status != AccountStatus::Active {
            return Err(AccountError::NotActive);
        }
        Ok(vec![
            PermissionGranted {
                user_id: registration.user_id,
                permission: command.permission,
                granted_by: command.changed_by,
                granted_at: command.at,
            }
            .into(),
        ])
    }

    fn revoke(&self, command: &ChangePermission) -> Result<Vec<AccountEvent>, AccountError> {
        let registration = self.registration().ok_or(AccountError::NotRegistered)?;
        if registration.is_root && command.permission == Permission::Admin {
            return Err(AccountError::IsRoot);
        }
        if !registration.permissions.contains(&command.permission) {
            return Ok(Vec::new());
        }
        Ok(vec![
            PermissionRevoked {
                user_id: registration.user_id,
                permission: command.permission,
                revoked_by: command.changed_by,
                revoked_at: command.at,
            }
            .into(),
        ])
    }

    fn approve(&self, command: &Approve) -> Result<Vec<AccountEvent>, AccountError> {
        let registration = self.registration().ok_or(AccountError::NotRegistered)?;
        match (registration.status, registration.role.first_status()) {
            (AccountStatus::PendingApproval, _) => Ok(vec![
                AccountApproved {
                    user_id: registration.user_id,
                    approved_by: command.approved_by,
                    approved_at: command.at,
                }
                .into(),
            ]),
            (AccountStatus::Active, AccountStatus::PendingApproval) => Ok(Vec::new()),
            (AccountStatus::Active, AccountStatus::Active) => Err(AccountError::NotWaiting),
        }
    }

    fn erase(&self, command: &Erase) -> Result<Vec<AccountEvent>, AccountError> {
        match self {
            Self::Absent => Err(AccountError::NotRegistered),
            Self::Erased => Ok(Vec::new()),
            Self::Registered(account) if account.is_root => Err(AccountError::IsRoot),
            Self::Registered(_) => Ok(vec![
                AccountErased {
                    user_id: command.user_id,
                    erased_by: command.erased_by,
                    erased_at: command.at,
                }
                .into(),
            ]),
        }
    }
}

/// The rules of a player's fields that need more than one value.
fn check_player(command: &Register) -> Result<(), AccountError> {
    let RoleDetails::Player {
        birth_year,
        cricket_role,
        ..
    } = &command.role
    else {
        return Ok(());
    };
    match (command.sport.is_cricket(), cricket_role) {
        (true, None) => return Err(AccountError::CricketRoleMissing),
        (false, Some(_)) => return Err(AccountError::CricketRoleWithoutCricket),
        _ => {}
    }
    if i32::from(birth_year.get()) > command.at.year() {
        return Err(AccountError::BirthYearInFuture);
    }
    Ok(())
}
