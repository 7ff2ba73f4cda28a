//! Driver, routes, journal and blobs around the scheduler.
