//! A slice of the log as a file.

use super::parameters::{Parameters, PersonalParameter, SliceParameters};
use super::{Auditor, Look};
use crate::auth::Principal;
use crate::command::CommandContext;
use crate::openapi::values;
use crate::problem::{Place, Problem, ProblemCode};
use crate::respond::Reading;
use crate::state::ApiState;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use futures::stream;
use touchline_domain::audit::LookOperation;
use touchline_eventstore::export::Format;
use touchline_projections::history::{Export, ExportHistoryError, ExportSettings};
use utoipa::IntoParams;

/// How the file is written, as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter; the handler reads it")]
struct FormatParameter {
    /// `ndjson` or `csv`.
    #[param(inline, value_type = Option<values::ExportFormat>)]
    format: Option<String>,
}

/// A slice as a file
///
/// One line per event as the log stores it, between a header and a trailer. The trailer says how many
/// events there are, the last position, and the signed checkpoint: a file without one was cut, and
/// what is missing is asked for by `after`. The whole log ends where its last checkpoint does.
#[utoipa::path(
    get, path = "/v1/audit/export", tag = "audit", operation_id = "export_events",
    params(SliceParameters, FormatParameter, PersonalParameter),
    responses((status = 200, description = "The file.", content(
        (String = "application/x-ndjson"), (String = "text/csv"),
    ))),
)]
pub(super) async fn export(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    reading: Reading,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri);
    let (slice, personal) = (parameters.slice()?, parameters.personal()?);
    let (format, media_type, file) = format(&parameters)?;
    let at = state.now();
    let auditor = Auditor::new(state, principal, context, personal).await?;
    reading.of_log(&auditor.state).await?;
    let patience = reading.patience();
    let walk = auditor.reader.walk_to_export(slice, patience).await?;
    let look = Look {
        operation: LookOperation::Export,
        slice: walk.slice(),
        events_max: None,
        personal,
    };
    auditor.record(look).await?;
    let settings = ExportSettings {
        format,
        personal,
        at,
    };
    let export = auditor.reader.export(walk, settings).await?;
    let mut response = Response::new(Body::from_stream(stream::try_unfold(export, next)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(file));
    Ok(response)
}

/// The next part of the file. A failure cuts the answer, and so the file, which shows it.
async fn next(mut export: Export) -> Result<Option<(Bytes, Export)>, ExportHistoryError> {
    let bytes = export.next().await.inspect_err(|error| {
        let (at, _) = export.progress();
        tracing::warn!(error = %error, position = %at, "audit: an export was cut");
    })?;
    Ok(bytes.map(|bytes| (bytes.into(), export)))
}

fn format(parameters: &Parameters<'_>) -> Result<(Format, &'static str, &'static str), Problem> {
    match parameters.text("format").as_deref() {
        None | Some("ndjson") => Ok((
            Format::Ndjson,
            "application/x-ndjson",
            "attachment; filename=\"events.ndjson\"",
        )),
        Some("csv") => Ok((
            Format::Csv,
            "text/csv; charset=utf-8; header=present",
            "attachment; filename=\"events.csv\"",
        )),
        Some(_) => {
            let place = Place::Parameter("format".to_owned());
            let detail = "must be ndjson or csv";
            Err(Problem::at(ProblemCode::InvalidParameter, place, detail))
        }
    }
}

impl From<ExportHistoryError> for Problem {
    fn from(error: ExportHistoryError) -> Self {
        match error {
            ExportHistoryError::Read(error) => error.into(),
            ExportHistoryError::Seals(error) => error.into(),
            error => Self::caused_by(ProblemCode::Internal, error),
        }
    }
}
