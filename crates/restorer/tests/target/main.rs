//! A deployment as a target, against a simulated one with its faults.

#[cfg(test)]
mod asking;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod platform;
