//! The job macros of manyhands-guest-sdk.
