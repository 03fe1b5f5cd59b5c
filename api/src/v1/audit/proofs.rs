//! What shows an auditor that the log is what it was: the last checkpoint, and proofs from the seals.
//!
//! None of it tells what an event says, so that these looks are not recorded.

use super::parameters::Parameters;
use crate::openapi::values;
use crate::problem::{Place, Problem, ProblemCode};
use crate::respond::{Reading, Stamp};
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use touchline_domain::identity::Permission;
use touchline_eventstore::Position;
use touchline_eventstore::seal::proof::Side;
use touchline_eventstore::seal::record::TreeHead;
use touchline_eventstore::seal::{
    ConsistencyProof, InclusionProof, ProveError, Seals, SignedCheckpoint, VerifierKey,
};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    use ProblemCode as P;
    let access = Access::Staff(Permission::Auditor);
    let problems = [
        P::InvalidParameter,
        P::BackwardsRange,
        P::PositionBeyondEnd,
        P::NotSealed,
    ];
    Routes::new()
        .route(access, Kind::Query, &[P::NotSealed], routes!(checkpoint))
        .route(access, Kind::Query, &problems, routes!(inclusion))
        .route(access, Kind::Query, &problems, routes!(consistency))
}

/// A signed checkpoint, and the key to verify it with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkpoint)]
struct CheckpointView {
    /// How many events the tree is over: a whole number as text.
    #[schema(value_type = values::Position)]
    tree_size: String,
    /// The root of the tree, in hexadecimal digits.
    #[schema(value_type = values::Hash)]
    root: String,
    /// The signed note, in the form of C2SP tlog-checkpoint.
    note: String,
    /// When it was signed.
    signed_at: DateTime<Utc>,
    /// The key that verifies the note, in the form of C2SP signed-note. Keep it when you first see it:
    /// who can change the log can answer another one.
    verifier_key: String,
}

impl CheckpointView {
    fn new(checkpoint: SignedCheckpoint, key: &VerifierKey) -> Self {
        Self {
            tree_size: checkpoint.size.to_string(),
            root: checkpoint.root.to_string(),
            note: checkpoint.note,
            signed_at: checkpoint.signed_at,
            verifier_key: key.to_string(),
        }
    }
}

/// Shows that an event stands at its position.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InclusionProof)]
struct InclusionView {
    /// The name of the log.
    origin: String,
    /// Where the event stands: a whole number as text.
    #[schema(value_type = values::Position)]
    position: String,
    /// Its digest, in hexadecimal digits like every hash here.
    #[schema(value_type = values::Hash)]
    digest: String,
    /// SHA-256 of a zero byte and the digest.
    #[schema(value_type = values::Hash)]
    leaf_hash: String,
    /// How many events the tree is over.
    #[schema(value_type = values::Position)]
    tree_size: String,
    /// The root of that tree.
    #[schema(value_type = values::Hash)]
    root: String,
    /// The hashes from the leaf to the root (PATH of RFC 6962).
    path: Vec<StepView>,
    /// The signed checkpoint of that size; null when no checkpoint has that size.
    checkpoint: Option<String>,
}

/// A step of the way from a leaf to the root: SHA-256 of a byte 1, the left and the right hash.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProofStep)]
struct StepView {
    /// On which side of the hash so far this one stands.
    side: SideView,
    /// The hash.
    #[schema(value_type = values::Hash)]
    hash: String,
}

/// A side.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProofSide)]
#[serde(rename_all = "lowercase")]
enum SideView {
    /// Before.
    Left,
    /// After.
    Right,
}

impl From<InclusionProof> for InclusionView {
    fn from(proof: InclusionProof) -> Self {
        let step = |step: &touchline_eventstore::seal::record::Step| StepView {
            side: match step.side {
                Side::Left => SideView::Left,
                Side::Right => SideView::Right,
            },
            hash: step.hash.to_string(),
        };
        Self {
            path: proof.path.iter().map(step).collect(),
            origin: proof.origin,
            position: proof.position.to_string(),
            digest: proof.digest.to_string(),
            leaf_hash: proof.leaf_hash.to_string(),
            tree_size: proof.tree_size.to_string(),
            root: proof.root.to_string(),
            checkpoint: proof.checkpoint,
        }
    }
}

/// Shows that the log of one size begins with the log of a smaller one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConsistencyProof)]
struct ConsistencyView {
    /// The name of the log.
    origin: String,
    /// The smaller tree.
    from: TreeHeadView,
    /// The larger tree.
    to: TreeHeadView,
    /// The hashes of the proof (PROOF of RFC 6962).
    #[schema(value_type = Vec<values::Hash>)]
    path: Vec<String>,
}

/// A tree.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TreeHead)]
struct TreeHeadView {
    /// How many events it is over: a whole number as text.
    #[schema(value_type = values::Position)]
    tree_size: String,
    /// Its root.
    #[schema(value_type = values::Hash)]
    root: String,
    /// The signed checkpoint of that size; null when no checkpoint has that size.
    checkpoint: Option<String>,
}

impl From<TreeHead> for TreeHeadView {
    fn from(head: TreeHead) -> Self {
        Self {
            tree_size: head.tree_size.to_string(),
            root: head.root.to_string(),
            checkpoint: head.checkpoint,
        }
    }
}

impl From<ConsistencyProof> for ConsistencyView {
    fn from(proof: ConsistencyProof) -> Self {
        Self {
            path: proof.path.iter().map(ToString::to_string).collect(),
            origin: proof.origin,
            from: proof.from.into(),
            to: proof.to.into(),
        }
    }
}

/// The last signed checkpoint
///
/// Keep it elsewhere: with it you can show later that nothing before it was changed.
#[utoipa::path(
    get, path = "/v1/audit/checkpoint", tag = "audit", operation_id = "get_checkpoint",
    responses((status = 200, description = "The checkpoint.", body = CheckpointView)),
)]
async fn checkpoint(State(state): State<ApiState>, _reading: Reading) -> Result<Response, Problem> {
    let seals = seals(&state);
    let key = seals.verifier_key(state.log_id()).await?;
    let (Some(latest), Some(key)) = (seals.latest().await?, key) else {
        return Err(ProblemCode::NotSealed.into());
    };
    let stamp = Stamp::of_log(latest.size);
    stamp.list(&CheckpointView::new(latest, &key))
}

/// Show that an event is in the log
#[utoipa::path(
    get, path = "/v1/audit/proofs/inclusion", tag = "audit", operation_id = "prove_inclusion",
    params(
        ("position" = inline(values::EventPosition), Query, description = "Where the event stands.", example = "17"),
        ("size" = inline(Option<values::Position>), Query, description = "How many events the tree is over; those of the last checkpoint when it is not given."),
    ),
    responses((status = 200, description = "The proof.", body = InclusionView)),
)]
async fn inclusion(
    State(state): State<ApiState>,
    _reading: Reading,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri);
    let position = required(&parameters, "position")?;
    let size = parameters.position("size")?;
    let seals = seals(&state);
    match seals.inclusion(state.log_id(), position, size).await {
        Ok(proof) => Stamp::of_log(proof.tree_size).list(&InclusionView::from(proof)),
        Err(error) => Err(explain(&state, error, ("position", position), "size").await?),
    }
}

/// Show that the log goes on from an older one
#[utoipa::path(
    get, path = "/v1/audit/proofs/consistency", tag = "audit", operation_id = "prove_consistency",
    params(
        ("from" = inline(values::EventPosition), Query, description = "How many events the smaller tree is over.", example = "100"),
        ("to" = inline(values::EventPosition), Query, description = "How many events the larger tree is over.", example = "363"),
    ),
    responses((status = 200, description = "The proof.", body = ConsistencyView)),
)]
async fn consistency(
    State(state): State<ApiState>,
    _reading: Reading,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri);
    let (from, to) = (required(&parameters, "from")?, required(&parameters, "to")?);
    match seals(&state).consistency(state.log_id(), from, to).await {
        Ok(proof) => Stamp::of_log(proof.to.tree_size).list(&ConsistencyView::from(proof)),
        Err(error) => Err(explain(&state, error, ("from", from), "to").await?),
    }
}

fn seals(state: &ApiState) -> Seals {
    Seals::new(state.store().pool().clone())
}

fn required(parameters: &Parameters<'_>, name: &str) -> Result<Position, Problem> {
    let given = parameters.position(name)?;
    given.ok_or_else(|| invalid(name, "must be given"))
}

fn invalid(name: &str, detail: &str) -> Problem {
    let place = Place::Parameter(name.to_owned());
    Problem::at(ProblemCode::InvalidParameter, place, detail.to_owned())
}

/// Why there is no proof. What has been appended and only waits for its checkpoint may be asked for
/// again.
async fn explain(
    state: &ApiState,
    error: ProveError,
    (first, first_position): (&str, Position),
    last: &str,
) -> Result<Problem, Problem> {
    Ok(match error {
        ProveError::NothingSealed => ProblemCode::NotSealed.into(),
        ProveError::Start => {
            let wrong = if first_position == Position::START {
                first
            } else {
                last
            };
            invalid(wrong, "must be a whole number from 1")
        }
        ProveError::Beyond { asked, .. } => {
            let head = state.store().head().await?;
            let (code, detail) = if asked > head {
                let detail = format!("The log ends at position {head}, and {asked} was asked for.");
                (ProblemCode::PositionBeyondEnd, detail)
            } else {
                (ProblemCode::NotSealed, format!("{error}."))
            };
            Problem::with_detail(code, detail)
        }
        ProveError::NotInTree { .. } | ProveError::Backwards { .. } => {
            let place = Place::Parameter(last.to_owned());
            Problem::at(ProblemCode::BackwardsRange, place, error.to_string())
        }
        ProveError::Database(error) => error.into(),
        error @ ProveError::Damaged { .. } => Problem::caused_by(ProblemCode::Internal, error),
    })
}
