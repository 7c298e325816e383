//! Pushing by OTLP to receivers that take, refuse, throttle and stall.

#[cfg(test)]
mod grpc;
#[cfg(test)]
mod http;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod tls;
