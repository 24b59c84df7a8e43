//! How "revoked" comes to mean dead everywhere: the decisions of both sides, as functions of what each has seen
//! and of its own clock.
//!
//! ```text
//!  judging process                        API server                     controller
//!   claims a Lease, lists, applies ─────► Lease: applied, unchanged? ──► judgement: may r be called enforced?
//!   permit: may it answer at all?  ◄───── LIST, Lease write
//! ```
//!
//! A process that is not heard of any more (frozen, cut off, killed) loses its [`permit`] by its own clock before
//! the controller's [`judgement`] stops waiting for it by another clock. Both clocks count suspended time and need
//! no common origin; their rates may differ by 5 %. `model` explores every order of events within bounds, with
//! these very functions, and shows for each rule what goes wrong without it.

pub mod cadence;
pub mod judgement;
#[cfg(test)]
mod model;
pub mod permit;
