//! What can be wrong with an adapter.

/// An adapter that does not fit a model, or cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// It was made for another architecture.
    #[error("the adapter is for models of architecture {found}, this one is {expected}")]
    Architecture {
        /// The adapter's.
        found: String,
        /// The model's.
        expected: String,
    },
    /// The model has no such matrix.
    #[error("the adapter changes {tensor}, which the model does not have or which takes no factors")]
    Tensor {
        /// Its name.
        tensor: String,
    },
    /// Factors that are not the matrix's.
    #[error("the adapter's factors for {tensor} are for a matrix of {found:?}, the model's is {expected:?}")]
    Shape {
        /// The matrix.
        tensor: String,
        /// Rows and columns of the factors.
        found: [u64; 2],
        /// Rows and columns of the matrix.
        expected: [u64; 2],
    },
    /// Factors whose numbers are not as many as they should be.
    #[error("the adapter's factors for {tensor} are incomplete")]
    Incomplete {
        /// The matrix.
        tensor: String,
    },
    /// Two pairs of factors for one matrix.
    #[error("the adapter has two pairs of factors for {tensor}")]
    Twice {
        /// The matrix.
        tensor: String,
    },
    /// A number that is not one.
    #[error("the adapter's factors for {tensor} have a number that is not finite")]
    NotFinite {
        /// The matrix.
        tensor: String,
    },
    /// An adapter of a kind that is not supported.
    #[error("{file}: {what} is not supported")]
    Unsupported {
        /// The file.
        file: String,
        /// What.
        what: &'static str,
    },
    /// A training has factors of one rank.
    #[error("the adapter's factors for {tensor} have rank {found}, the training's have {expected}")]
    Rank {
        /// The matrix.
        tensor: String,
        /// The adapter's.
        found: u64,
        /// The training's.
        expected: u64,
    },
    /// No matrix is chosen.
    #[error("no matrix of the model is called {wanted:?}; it has {known}")]
    Targets {
        /// What was asked for.
        wanted: String,
        /// Which matrices there are.
        known: String,
    },
}
