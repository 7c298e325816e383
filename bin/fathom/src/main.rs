//! fathom: measures what happens to packets and pods on a Kubernetes node.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}
#[derive(clap::Subcommand)]
enum Command {
    Flows(Box<flow::Settings>),
}

fn main() -> ExitCode {
    let Command::Flows(settings) = Args::parse().command;
    let duration = settings.duration.unwrap();
    let config = flow::Config::new(*settings).unwrap();
    let (tx, rx) = flow::channel();
    match flow::measure(&config, duration, &rx, tx) {
        Ok(document) => {
            println!("{}", serde_json::to_string_pretty(&document).unwrap());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit() as u8)
        }
    }
}
