//! Parameter structs as the words that cross the ABI.

use tern_abi::ops::Params;
use tern_reference::Kernel;

fn of<P: Params>(params: &P) -> Vec<u32> {
    // SAFETY: `Params` types are plain 32-bit fields without padding.
    let words = unsafe { std::slice::from_raw_parts(std::ptr::from_ref(params).cast::<u32>(), size_of::<P>() / 4) };
    words.to_vec()
}

/// The parameters of an op.
pub fn words(kernel: &Kernel) -> Vec<u32> {
    match kernel {
        Kernel::RmsNorm(op) => of(&op.0),
        Kernel::LayerNorm(op) => of(&op.0),
        Kernel::Linear(op) => of(&op.0),
        Kernel::RopeTable(op) => of(&op.0),
        Kernel::Rope(op) => of(&op.0),
        Kernel::Attention(op) => of(&op.0),
        Kernel::Glu(op) => of(&op.0),
        Kernel::Scale(op) => of(&op.0),
        Kernel::Activation(op) => of(&op.0),
        Kernel::MoeRoute(op) => of(&op.0),
        Kernel::FastWeight(op) => of(&op.0),
        Kernel::Sum(op) => of(&op.0),
        Kernel::ShortConv(op) => of(&op.0),
        Kernel::Columns(op) => of(&op.0),
        Kernel::LinearCrossEntropy(op) => of(&op.0),
        Kernel::Gather(_)
        | Kernel::Rows(_)
        | Kernel::Add(_)
        | Kernel::Mul(_)
        | Kernel::ExpertLinear(_)
        | Kernel::MoeCombine(_)
        | Kernel::QuantizeTokens(_)
        | Kernel::CrossEntropy(_) => Vec::new(),
    }
}
