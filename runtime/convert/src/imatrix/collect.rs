/// a
pub struct CollectOptions {}
/// b
pub struct Collected {}
