//! Sign up, sign in, approve.

use crate::world::{World, club, keyed, new_post, password};
use argon2::{Argon2, Params, PasswordHasher as _};
use futures::future::join_all;
use touchline_commands::identity::{self, ApproveError, SignInError, SignUp, SignUpError};
use touchline_commands::passwords::PasswordHash;
use touchline_commands::posts::{self, PublishError};
use touchline_commands::{Envelope, Failure, Outcome, Password};
use touchline_domain::id::UserId;
use touchline_domain::identity::{
    Account, AccountError, AccountStatus, DisplayName, Email, Gender, Handle, RoleDetails, Sport,
};
use touchline_domain::posts::Visibility;

fn form(email: &str, handle: &str) -> SignUp {
    SignUp {
        email: Email::parse(email).unwrap(),
        password: password(),
        handle: Handle::parse(handle).unwrap(),
        display_name: DisplayName::parse("Ana").unwrap(),
        sport: Sport::parse("football").unwrap(),
        gender: Gender::Female,
        role: RoleDetails::Fan,
    }
}

async fn sign_up(world: &World, form: SignUp) -> Result<Outcome<Account>, SignUpError> {
    let envelope: Envelope = world.bus.envelope(None);
    identity::sign_up(&world.identity, &envelope, form).await
}

async fn stored_passwords(world: &World) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM credentials.password_hashes")
        .fetch_one(&world.database.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn signing_up_makes_an_account_with_a_password() {
    let world = World::new().await;
    let fan = sign_up(&world, form("ana@example.org", "ana"))
        .await
        .unwrap();
    assert_eq!((fan.version, fan.end.position.get()), (1, 1));
    assert_eq!(fan.state.status(), Some(AccountStatus::Active));
    let waiting = SignUp {
        role: club(),
        ..form("club@example.org", "rosario")
    };
    let waiting = sign_up(&world, waiting).await.unwrap();
    assert_eq!(waiting.state.status(), Some(AccountStatus::PendingApproval));
    assert_eq!(stored_passwords(&world).await, 2);
}

#[tokio::test]
async fn no_password_enters_the_log() {
    let world = World::new().await;
    sign_up(&world, form("ana@example.org", "ana"))
        .await
        .unwrap();
    let log = world.log().await;
    assert_eq!(log.len(), 1);
    for event in log {
        for text in [event.payload.get(), event.metadata.get()] {
            assert!(
                !text.contains("argon2") && !text.contains("correct horse"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn an_address_and_a_handle_belong_to_one_account() {
    let world = World::new().await;
    sign_up(&world, form("ana@example.org", "ana"))
        .await
        .unwrap();
    let same_address = sign_up(&world, form("Ana@EXAMPLE.org", "ben")).await;
    assert!(matches!(same_address, Err(SignUpError::EmailTaken)));
    let same_handle = sign_up(&world, form("ben@example.org", "ANA")).await;
    assert!(matches!(same_handle, Err(SignUpError::HandleTaken)));
    // What was refused left nothing behind: neither a password nor half of its claims.
    assert_eq!(stored_passwords(&world).await, 1);
    sign_up(&world, form("ben@example.org", "ben"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_refused_account_leaves_no_password() {
    let world = World::new().await;
    let refused = sign_up(&world, form("ana@example.org", "admin")).await;
    assert!(matches!(
        refused,
        Err(SignUpError::Refused(AccountError::HandleReserved))
    ));
    assert_eq!(stored_passwords(&world).await, 0);
    assert_eq!(world.log().await.len(), 0);
}

#[tokio::test]
async fn of_20_who_want_one_address_at_once_one_gets_it() {
    let world = World::new().await;
    let answers = join_all((0..20).map(|n| {
        let form = form("ana@example.org", &format!("ana{n}"));
        sign_up(&world, form)
    }))
    .await;
    let (signed_up, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(signed_up.len(), 1);
    for answer in refused {
        assert!(matches!(answer, Err(SignUpError::EmailTaken)), "{answer:?}");
    }
    assert_eq!(stored_passwords(&world).await, 1);
    assert_eq!(world.log().await.len(), 1);
}

#[tokio::test]
async fn a_repeated_sign_up_gets_its_first_answer() {
    let world = World::new().await;
    let again = async |body| {
        let envelope = keyed(&world.bus, None, "key", body);
        identity::sign_up(&world.identity, &envelope, form("ana@example.org", "ana")).await
    };
    let first = again("a").await.unwrap();
    let second = again("a").await.unwrap();
    assert_eq!(second.id, first.id);
    assert!(second.replayed && !first.replayed);
    assert!(matches!(
        again("b").await,
        Err(SignUpError::Failed(Failure::CommandReused))
    ));
    let at_once = join_all((0..4).map(|_| async {
        let envelope = keyed(&world.bus, None, "other key", "a");
        let form = form("ben@example.org", "ben");
        identity::sign_up(&world.identity, &envelope, form)
            .await
            .unwrap()
            .id
    }))
    .await;
    assert!(at_once.iter().all(|id| *id == at_once[0]));
    assert_eq!(stored_passwords(&world).await, 2);
    let signed_in = identity::sign_in(&world.identity, "ben@example.org", "correct horse battery");
    assert_eq!(signed_in.await.unwrap().user_id.uuid(), at_once[0]);
}

#[tokio::test]
async fn the_right_password_signs_in_and_nothing_else() {
    let world = World::new().await;
    let ana = sign_up(&world, form("ana@example.org", "ana"))
        .await
        .unwrap();
    let sign_in = |email, password| identity::sign_in(&world.identity, email, password);
    let signed_in = sign_in("ANA@example.org", "correct horse battery")
        .await
        .unwrap();
    assert_eq!(signed_in.user_id.uuid(), ana.id);
    assert_eq!(signed_in.account, ana.state);
    for (email, password) in [
        ("ana@example.org", "correct horse batterz"),
        ("ana@example.org", ""),
        ("ben@example.org", "correct horse battery"),
        ("not an address", "correct horse battery"),
    ] {
        assert!(
            matches!(
                sign_in(email, password).await,
                Err(SignInError::InvalidCredentials)
            ),
            "{email}"
        );
    }
}

#[tokio::test]
async fn signing_in_renews_an_outdated_hash() {
    let world = World::new().await;
    let ana = sign_up(&world, form("ana@example.org", "ana"))
        .await
        .unwrap();
    let credentials = &world.identity.credentials;
    let user_id = UserId::new(ana.id);
    let old = {
        let params = Params::new(8_192, 1, 1, None).unwrap();
        let weak = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        PasswordHash::new(
            &weak
                .hash_password(b"correct horse battery")
                .unwrap()
                .to_string(),
        )
    };
    let stored = credentials.password_hash(user_id).await.unwrap().unwrap();
    credentials
        .replace_password_hash(user_id, &stored, &old)
        .await
        .unwrap();

    let sign_in = |password| identity::sign_in(&world.identity, "ana@example.org", password);
    assert!(sign_in("wrong").await.is_err());
    assert_eq!(credentials.password_hash(user_id).await.unwrap(), Some(old));
    sign_in("correct horse battery").await.unwrap();
    let renewed = credentials.password_hash(user_id).await.unwrap().unwrap();
    assert!(
        renewed
            .as_str()
            .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
    );
    sign_in("correct horse battery").await.unwrap();
    assert_eq!(
        credentials.password_hash(user_id).await.unwrap(),
        Some(renewed)
    );
}

#[tokio::test]
async fn an_approved_account_may_act() {
    let world = World::new().await;
    let club = world.waiting_club("rosario").await;
    let publish = async || {
        let envelope = world.bus.envelope(Some(club));
        posts::publish(&world.bus, &envelope, new_post("3–3", Visibility::Public)).await
    };
    assert!(matches!(
        publish().await,
        Err(PublishError::Failed(Failure::AccountPending))
    ));
    let approve = async |user_id| {
        let envelope = world.bus.envelope(None);
        identity::approve(&world.bus, &envelope, user_id).await
    };
    let approved = approve(club).await.unwrap();
    assert_eq!(approved.state.status(), Some(AccountStatus::Active));
    assert_eq!(approve(club).await.unwrap().version, approved.version);
    publish().await.unwrap();

    let fan = world.fan("ana").await;
    assert!(matches!(
        approve(fan).await,
        Err(ApproveError::Refused(AccountError::NotWaiting))
    ));
    let nobody = world.bus.new_id().into();
    assert!(matches!(
        approve(nobody).await,
        Err(ApproveError::Refused(AccountError::NotRegistered))
    ));
}

#[tokio::test]
async fn no_error_and_no_form_shows_a_password() {
    let shown = format!("{:?}", form("ana@example.org", "ana"));
    assert!(!shown.contains("correct horse"), "{shown}");
    assert!(!format!("{:?}", Password::attempt("correct horse")).contains("horse"));
}
