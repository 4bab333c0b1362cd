//! Each verb over destinations in memory that fail on demand, fed by exports made of bytes.

#![allow(clippy::similar_names, reason = "content leaves in a context: both words are those of the field")]

#[cfg(test)]
mod backup;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod content;
#[cfg(test)]
mod counting;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod destinations;
#[cfg(test)]
mod download;
#[cfg(test)]
mod encryption;
#[cfg(test)]
mod erasure;
#[cfg(test)]
mod export;
#[cfg(test)]
mod gate;
#[cfg(test)]
#[path = "../support/job.rs"]
mod job;
#[cfg(test)]
mod leftovers;
#[cfg(test)]
mod nth_call;
#[cfg(test)]
mod prune;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod surroundings;
#[cfg(test)]
mod verify;
