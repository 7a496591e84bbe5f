//! What block formats stand for, from the views of `tern_quant`: integers, scales, and what is added.

use crate::weight::BLOCK;
use tern_quant::{
    DType, i2_s, iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs, iq4_nl, iq4_xs, mxfp4, nvfp4, q1_0, q2_0, q2_k,
    q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0, q8_k,
};

/// 32 columns of a row: weight = scale * level + min, scale and min by half.
pub struct Block {
    pub levels: [i32; BLOCK],
    pub scales: [f32; 2],
    /// Whether halves have scales of their own, even where these are equal.
    pub halves: bool,
    pub mins: Option<[f32; 2]>,
}

/// Block `b` of 32 columns of a row of the file.
pub fn block(dtype: DType, row: &[u8], b: usize) -> Block {
    let per = dtype.block_len() / BLOCK;
    let file = &row[b / per * dtype.block_bytes()..][..dtype.block_bytes()];
    let b = b % per;
    macro_rules! view {
        ($m:ident) => {
            $m::Block(file.try_into().unwrap())
        };
    }
    let levels = |level: &dyn Fn(usize) -> i32| std::array::from_fn(|i| level(BLOCK * b + i));
    let whole = |levels: [i32; BLOCK], scale: f32| Block { levels, scales: [scale; 2], halves: false, mins: None };
    let halved = |levels: [i32; BLOCK], scale: &dyn Fn(usize) -> f32| Block {
        levels,
        scales: [scale(2 * b), scale(2 * b + 1)],
        halves: true,
        mins: None,
    };
    let affine = |levels: [i32; BLOCK], scale: f32, min: f32| Block { mins: Some([min; 2]), ..whole(levels, scale) };
    /// Elements of points.
    macro_rules! elements {
        ($v:ident) => {{
            let mut elements = [0; 256];
            $v.unpack(&mut elements);
            std::array::from_fn(|i| i32::from(elements[BLOCK * b + i]))
        }};
    }
    match dtype {
        DType::Q4_0 => {
            let v = view!(q4_0);
            whole(levels(&|i| i32::from(v.quant(i)) - 8), v.d())
        }
        DType::Q4_1 => {
            let v = view!(q4_1);
            affine(levels(&|i| v.quant(i).into()), v.d(), v.m())
        }
        DType::Q5_0 => {
            let v = view!(q5_0);
            whole(levels(&|i| i32::from(v.quant(i)) - 16), v.d())
        }
        DType::Q5_1 => {
            let v = view!(q5_1);
            affine(levels(&|i| v.quant(i).into()), v.d(), v.m())
        }
        DType::Q8_0 => {
            let v = view!(q8_0);
            whole(levels(&|i| v.quant(i).into()), v.d())
        }
        DType::Q8_K => {
            let v = view!(q8_k);
            whole(levels(&|i| v.quant(i).into()), v.d())
        }
        DType::Q2_K => {
            let v = view!(q2_k);
            let numbers = v.scales_mins();
            let min = |i: usize| -(v.dmin() * f32::from(numbers[i].1));
            let mins = Some([min(2 * b), min(2 * b + 1)]);
            Block { mins, ..halved(levels(&|i| v.quant(i).into()), &|i| v.d() * f32::from(numbers[i].0)) }
        }
        DType::Q3_K => {
            let v = view!(q3_k);
            halved(levels(&|i| i32::from(v.quant(i)) - 4), &|i| v.d() * f32::from(v.scales()[i]))
        }
        DType::Q4_K => {
            let v = view!(q4_k);
            let (scale, min) = v.scales_mins()[b];
            affine(levels(&|i| v.quant(i).into()), v.d() * f32::from(scale), -(v.dmin() * f32::from(min)))
        }
        DType::Q5_K => {
            let v = view!(q5_k);
            let (scale, min) = v.scales_mins()[b];
            affine(levels(&|i| v.quant(i).into()), v.d() * f32::from(scale), -(v.dmin() * f32::from(min)))
        }
        DType::Q6_K => {
            let v = view!(q6_k);
            halved(levels(&|i| i32::from(v.quant(i)) - 32), &|i| v.d() * f32::from(v.scale(i)))
        }
        DType::IQ4_NL => {
            let v = view!(iq4_nl);
            whole(levels(&|i| iq4_nl::LEVELS[usize::from(v.quant(i))].into()), v.d())
        }
        DType::IQ4_XS => {
            let v = view!(iq4_xs);
            let level = |i: usize| iq4_nl::LEVELS[usize::from(v.quant(i))].into();
            whole(levels(&level), v.d() * f32::from(v.scales()[b]))
        }
        DType::MXFP4 => {
            let v = view!(mxfp4);
            whole(levels(&|i| mxfp4::LEVELS[usize::from(v.quant(i))].into()), v.d())
        }
        DType::NVFP4 => {
            let v = view!(nvfp4);
            halved(levels(&|i| mxfp4::LEVELS[usize::from(v.quant(i))].into()), &|i| v.scales()[i])
        }
        DType::Q1_0 => {
            let v = view!(q1_0);
            whole(levels(&|i| 2 * i32::from(v.quant(i)) - 1), v.d())
        }
        DType::Q2_0 => {
            let v = view!(q2_0);
            whole(levels(&|i| i32::from(v.quant(i)) - 1), v.d())
        }
        DType::IQ2_XXS => {
            let v = view!(iq2_xxs);
            whole(elements!(v), v.d() * (f32::from(v.scales()[b]) + 0.5) * 0.25)
        }
        DType::IQ2_XS => {
            let v = view!(iq2_xs);
            halved(elements!(v), &|i| v.d() * (f32::from(v.scales()[i]) + 0.5) * 0.25)
        }
        DType::IQ2_S => {
            let v = view!(iq2_s);
            halved(elements!(v), &|i| v.d() * (f32::from(v.scales()[i]) + 0.5) * 0.25)
        }
        DType::IQ3_XXS => {
            let v = view!(iq3_xxs);
            whole(elements!(v), v.d() * (f32::from(v.scales()[b]) + 0.5) * 0.5)
        }
        DType::IQ3_S => {
            let v = view!(iq3_s);
            whole(elements!(v), v.d() * f32::from(2 * v.scales()[b] + 1))
        }
        DType::IQ1_S => {
            let v = view!(iq1_s);
            let (scale, down) = v.scales()[b];
            let scale = v.d() * f32::from(2 * scale + 1);
            affine(elements!(v), scale, if down { -0.125 * scale } else { 0.125 * scale })
        }
        DType::IQ1_M => {
            let v = view!(iq1_m);
            let elements: [i32; BLOCK] = elements!(v);
            let shift = |i: usize| if v.is_down((BLOCK * b + i) / 8) { -1 } else { 1 };
            let eightfold = std::array::from_fn(|i| 8 * elements[i] + shift(i));
            halved(eightfold, &|i| v.d() * f32::from(2 * v.scales()[i] + 1) * 0.125)
        }
        _ => panic!("{dtype} is no block format"),
    }
}

/// Makes the numbers of a file's block one, or the like, so that nothing but the codes is extreme.
pub fn tame(dtype: DType, block: &mut [u8]) {
    const ONE: [u8; 2] = [0x00, 0x3c];
    let end = block.len();
    match dtype {
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => block[..4].copy_from_slice(&[ONE, ONE].concat()),
        DType::Q2_K => block[end - 4..].copy_from_slice(&[ONE, ONE].concat()),
        DType::Q3_K | DType::Q6_K | DType::TQ1_0 | DType::TQ2_0 => block[end - 2..].copy_from_slice(&ONE),
        DType::Q8_K => block[..4].copy_from_slice(&1f32.to_le_bytes()),
        DType::MXFP4 => block[0] = 128,
        DType::NVFP4 => block[..4].copy_from_slice(&[0x38; 4]),
        // Four bits in each of the last four words.
        DType::IQ1_M => {
            for (word, bits) in block[48..].as_chunks_mut::<2>().0.iter_mut().zip([0x00, 0x00, 0xc0, 0x30]) {
                word[1] = word[1] & 0x0f | bits;
            }
        }
        DType::I2_S | DType::I2_S_ARM => {}
        _ => block[..2].copy_from_slice(&ONE),
    }
}

/// The scale of a tensor, where it has one.
pub fn tensor_scale(dtype: DType, bytes: &[u8]) -> Option<f32> {
    if dtype.tail_bytes() > 0 { i2_s::split(bytes).map(|(_, scale)| scale) } else { None }
}
