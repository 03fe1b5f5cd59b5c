//! Measurements against peers in one run, on one PostgreSQL server with full durability.
//!
//! `touchline-bench [NAME …]` runs those named, or all, and prints a table and JSON lines.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a program that prints figures and makes its own ids and times"
)]

mod append;
mod community;
mod dependencies;
mod dozen;
mod export;
mod growth;
mod http;
mod loading;
mod personal;
mod projection;
mod rebuild;
mod relay;
mod report;
mod seal;
mod servers;
mod stars;
mod stock;
mod swap;

use report::Report;
use servers::Servers;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter("warn")
        .with_writer(std::io::stderr)
        .init();
    let names: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let mut report = Report::new();
    let servers = Servers::start().await?;
    if wanted("append") {
        append::new_streams(&servers, &mut report).await?;
    }
    if wanted("commands") {
        let stock = append::commands(&servers, &mut report).await?;
        dependencies::dependencies(&servers, &mut report, stock).await?;
    }
    if wanted("contention") {
        dependencies::contention(&servers, &mut report).await?;
    }
    if wanted("loading") {
        loading::loading(&servers, &mut report).await?;
    }
    if wanted("alone") {
        append::alone(&servers, &mut report).await?;
    }
    if wanted("personal") {
        personal::personal(&servers, &mut report).await?;
    }
    if wanted("relay") {
        relay::relay(&servers, &mut report).await?;
    }
    if wanted("projection") {
        projection::projection(&servers, &mut report).await?;
    }
    if wanted("dozen") {
        dozen::dozen(&servers, &mut report).await?;
    }
    if wanted("rebuild") {
        rebuild::rebuild(&servers, &mut report).await?;
    }
    if wanted("swap") {
        swap::swap(&servers, &mut report).await?;
    }
    if wanted("seals") {
        seal::seal(&servers, &mut report).await?;
    }
    if wanted("export") {
        export::export(&servers, &mut report).await?;
    }
    if wanted("http") {
        http::http(&mut report).await?;
    }
    if wanted("stars") {
        stars::stars(&servers, &mut report).await?;
    }
    if wanted("growth") {
        growth::growth(&servers, &mut report).await?;
    }
    servers.stop().await?;
    report.print();
    Ok(())
}
