//! A shop served by axum, with its healthchecks at /healthchecks.
//!
//! ```console
//! $ cargo run -p axum-shop
//! $ curl localhost:8080/healthchecks
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use hospital::endpoint::EndpointSettings;
use hospital::mount::Service;
use hospital::{App, Check, healthcheck};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// How long the load balancer has to see that we are not ready, before we stop accepting.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the shop has: here a pool of connections, of which only the number is real.
type Pool = Arc<Semaphore>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool: Pool = Arc::new(Semaphore::new(4));
    let health = Service::new(checks(&pool).collect()?, EndpointSettings::default())?;
    let app = Router::new()
        .route("/", get(order))
        .route("/leak", get(leak))
        .with_state(pool)
        .nest_service("/healthchecks", health.clone());
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(farewell(health)?).await?;
    Ok(())
}

/// Checks on what the program itself has are closures; all others are collected by their names.
fn checks(pool: &Pool) -> App {
    let pool = pool.clone();
    let is_free = Check::new("shop.pool", move |_deadline| -> hospital::Result {
        hospital::ensure!(pool.available_permits() > 0, "all connections are in use");
        Ok(())
    });
    App::new().check(is_free.title("A connection is free.").in_place()).names(["shop", "axum_shop"])
}

/// The loopback interface takes connections.
#[healthcheck]
async fn loopback() -> hospital::Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    TcpStream::connect(listener.local_addr()?).await?;
    Ok(())
}

async fn order(State(pool): State<Pool>) -> &'static str {
    match pool.acquire().await {
        Ok(_connection) => "thank you\n",
        Err(_) => "we are closed\n",
    }
}

/// What should not happen, and does.
async fn leak(State(pool): State<Pool>) -> &'static str {
    pool.forget_permits(4);
    "oops\n"
}

/// Waits for SIGTERM, tells those who ask /readyz, and gives them time to notice.
fn farewell(health: Service) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        terminate.recv().await;
        health.drain();
        sleep(FAREWELL).await;
    })
}
