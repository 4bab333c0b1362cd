//! A deployment as a source, against servers that do what no orderly deployment does.

#[cfg(test)]
mod download;
#[cfg(test)]
mod export;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod files;
#[cfg(test)]
mod preflight;
#[cfg(test)]
mod release;
#[cfg(test)]
mod secrets;
