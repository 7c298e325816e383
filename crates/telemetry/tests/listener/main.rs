//! The HTTP listener as clients meet it, well-behaved and not.

#[cfg(test)]
mod limits;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod secure;
#[cfg(test)]
mod stage;
