//! What authors of Manyhands jobs import.
