//! Serves the simulator on port 8000 until interrupted:
//! `cargo run -p inferometer-sim --example serve [PORT] [FLOOD]`.

use std::error::Error;

use inferometer_sim::{SimSettings, start};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().as_deref().unwrap_or("8000").parse()?;
    let flood = arguments.next().map(|events| events.parse()).transpose()?;
    let settings = SimSettings {
        address: ([127, 0, 0, 1], port).into(),
        flood,
        ..SimSettings::default()
    };
    let server = start(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    server.stop()?;
    Ok(())
}
