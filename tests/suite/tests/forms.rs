//! Files that hold a model in another form: the same bits come out.

use std::path::Path;
use std::sync::Arc;
use tern::{CancelFlag, SessionOptions};
use tern_convert::imatrix::{CollectOptions, Imatrix};
use tern_formats::{DType, FileSource};
use tern_formats::gguf::{self, Array, Value};
use tern_tests::{changed, converted, goldens, ids, json, open};

/// Logits after the golden's prompt.
fn logits(path: &Path, golden: &Path) -> Vec<f32> {
    let model = open(path, "", 1);
    let session = model.session(SessionOptions::default()).unwrap();
    session.forward(&ids(&json(golden.join("golden.json"))["tokens"])).unwrap()
}

/// A safetensors file: names, types and shapes as the header has them, and bytes.
type Tensors = Vec<(String, serde_json::Value, Vec<u8>)>;

fn read_tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    let tensors = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let data = |at: &serde_json::Value| end + at.as_u64().unwrap() as usize;
    let one = |(name, info): (&String, &serde_json::Value)| {
        let at = &info["data_offsets"];
        (name.clone(), info.clone(), bytes[data(&at[0])..data(&at[1])].to_vec())
    };
    tensors.map(one).collect()
}

fn write_tensors(path: &Path, tensors: Tensors) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, mut info, bytes) in tensors {
        info["data_offsets"] = serde_json::json!([data.len(), data.len() + bytes.len()]);
        header.insert(name, info);
        data.extend(bytes);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

/// A GGUF file with the keys of another one, and these tensors: names, types, shapes, bytes.
fn write_gguf(path: &Path, keys: &gguf::Gguf, tensors: &[(String, DType, Vec<u64>, Vec<u8>)]) {
    let mut writer = gguf::Writer::new(path.display().to_string());
    for (k, v) in keys.metadata.entries() {
        writer.key(k, v).unwrap();
    }
    for (name, dtype, shape, _) in tensors {
        writer.tensor(name.clone(), *dtype, shape.clone()).unwrap();
    }
    let mut body = writer.begin(std::io::BufWriter::new(std::fs::File::create(path).unwrap())).unwrap();
    tensors.iter().for_each(|t| body.write(&t.3).unwrap());
    body.finish().unwrap();
}

#[test]
fn gpt_oss_under_the_names_of_its_own_code_is_the_same() {
    let (golden, made) = (goldens().join("tiny-gpt-oss-mxfp4"), tempfile::tempdir().unwrap());
    changed("tiny-gpt-oss-mxfp4", made.path(), &serde_json::json!({}));
    let file = made.path().join("model.safetensors");
    let mut tensors = Tensors::new();
    for (name, info, bytes) in read_tensors(&file) {
        let own = name
            .replace("model.embed_tokens.weight", "embedding.weight")
            .replace("lm_head.weight", "unembedding.weight")
            .replace("model.norm.weight", "norm.scale")
            .replace("model.layers.", "block.")
            .replace("input_layernorm.weight", "attn.norm.scale")
            .replace("post_attention_layernorm.weight", "mlp.norm.scale")
            .replace("self_attn.o_proj", "attn.out")
            .replace("self_attn", "attn")
            .replace("mlp.router", "mlp.gate")
            .replace("mlp.experts.gate_up_proj_", "mlp.mlp1_weight.")
            .replace("mlp.experts.down_proj_", "mlp.mlp2_weight.")
            .replace("_weight.bias", "_bias");
        tensors.push((own, info, bytes));
    }
    // Queries, keys and values are one.
    for i in 0..tensors.len() {
        let name = tensors[i].0.clone();
        if !name.contains("attn.q_proj") {
            continue;
        }
        for part in ["k_proj", "v_proj"] {
            let (_, info, bytes) = tensors.iter().find(|t| t.0 == name.replace("q_proj", part)).unwrap().clone();
            let rows = tensors[i].1["shape"][0].as_u64().unwrap() + info["shape"][0].as_u64().unwrap();
            tensors[i].1["shape"][0] = rows.into();
            tensors[i].2.extend(bytes);
        }
        tensors[i].0 = name.replace("q_proj", "qkv");
    }
    tensors.retain(|t| !t.0.contains("k_proj") && !t.0.contains("v_proj"));
    assert!(
        tensors.iter().any(|t| t.0 == "block.0.mlp.mlp1_weight.blocks")
            && tensors.iter().any(|t| t.0 == "block.0.mlp.mlp1_bias")
    );
    write_tensors(&file, tensors);
    let expected = logits(&golden, &golden);
    assert!(logits(made.path(), &golden) == expected);
    assert!(logits(&converted(made.path(), &made.path().join("m.gguf")), &golden) == expected);
}

/// Newer GGUF files of Qwen 3 Next have queries, keys and values of all heads one after the other, and the gate apart.
#[test]
fn either_form_of_qwen_3_next_gives_the_same_bits() {
    for name in ["tiny-qwen3-next", "tiny-qwen3-next-wide"] {
        let (golden, made) = (goldens().join(name), tempfile::tempdir().unwrap());
        let older = converted(&golden, &made.path().join("older.gguf"));
        let file = gguf::open(Arc::new(FileSource::open(&older).unwrap())).unwrap();
        let config = json(golden.join("config.json"));
        let size = |key: &str| config[key].as_u64().unwrap() as usize;
        let (keys, heads) = (size("linear_num_key_heads"), size("linear_num_value_heads"));
        let (key, value) = (size("linear_key_head_dim"), heads / keys * size("linear_value_head_dim"));
        // Rows of one part of every head of keys.
        let part = |bytes: &[u8], row: usize, first: usize, n: usize| -> Vec<u8> {
            let head = |h: usize| h * 2 * (key + value) + first;
            (0..keys).flat_map(|h| bytes[head(h) * row..(head(h) + n) * row].to_vec()).collect()
        };
        let mut tensors = Vec::new();
        for t in file.checkpoint.tensors() {
            let bytes = file.checkpoint.read(t).unwrap().into_owned();
            let Some(layer) = t.name.strip_suffix("ssm_in.weight") else {
                tensors.push((t.name.to_string(), t.dtype, t.shape.to_vec(), bytes));
                continue;
            };
            let (width, row) = (t.shape[1], bytes.len() / t.shape[0] as usize);
            let qkv = [(0, key), (key, key), (2 * key, value)].map(|(first, n)| part(&bytes, row, first, n)).concat();
            let rows = (keys * (2 * key + value)) as u64;
            tensors.push((format!("{layer}attn_qkv.weight"), t.dtype, vec![rows, width], qkv));
            let gate = part(&bytes, row, 2 * key + value, value);
            tensors.push((format!("{layer}attn_gate.weight"), t.dtype, vec![(keys * value) as u64, width], gate));
        }
        let newer = made.path().join("newer.gguf");
        write_gguf(&newer, &file, &tensors);
        assert!(logits(&newer, &golden) == logits(&older, &golden), "{name}");
    }
}

/// llama.cpp's converter can join the experts' gates and ups, gates first.
#[test]
fn joined_experts_give_the_same_bits() {
    for name in ["tiny-mixtral", "tiny-qwen2-moe", "tiny-qwen35-moe", "tiny-gpt-oss", "tiny-gpt-oss-mxfp4"] {
        let (golden, made) = (goldens().join(name), tempfile::tempdir().unwrap());
        let apart = converted(&golden, &made.path().join("apart.gguf"));
        let file = gguf::open(Arc::new(FileSource::open(&apart).unwrap())).unwrap();
        let mut tensors = Vec::new();
        for t in file.checkpoint.tensors() {
            let read = |t| file.checkpoint.read(t).unwrap().into_owned();
            if t.name.contains("ffn_up_exps") {
                continue;
            }
            let (mut name, mut shape, mut bytes) = (t.name.to_string(), t.shape.to_vec(), read(t));
            if t.name.contains("ffn_gate_exps") {
                let up = read(file.checkpoint.require(&name.replace("gate", "up")).unwrap());
                let of_expert = bytes.len() / shape[0] as usize;
                let both = bytes.chunks(of_expert).zip(up.chunks(of_expert));
                bytes = both.flat_map(|(gate, up)| [gate, up].concat()).collect();
                name = name.replace("gate", "gate_up");
                shape[1] *= 2;
            }
            tensors.push((name, t.dtype, shape, bytes));
        }
        assert!(tensors.iter().any(|t| t.0.contains("gate_up")), "{name}");
        let joined = made.path().join("joined.gguf");
        write_gguf(&joined, &file, &tensors);
        assert!(logits(&joined, &golden) == logits(&apart, &golden), "{name}");
    }
}

/// Files that llama.cpp's converter writes have the layers that guess further tokens behind the others, tell which have attention, and
/// have a gate of one row as a matrix.
#[test]
fn layers_that_guess_are_left_out() {
    for (name, architecture, layers) in [("tiny-qwen35", "qwen35", 3), ("tiny-qwen35-moe", "qwen35moe", 2)] {
        let (golden, made) = (goldens().join(name), tempfile::tempdir().unwrap());
        let plain = converted(&golden, &made.path().join("plain.gguf"));
        let file = gguf::open(Arc::new(FileSource::open(&plain).unwrap())).unwrap();
        let key = |key: &str| format!("{architecture}.{key}");
        let mut recurrent: Vec<bool> = (1..=layers).map(|i| i != layers).collect();
        recurrent.push(false);
        let changes: [(String, Value<'_>); 4] = [
            (key("block_count"), Value::U32(layers + 1)),
            (key("nextn_predict_layers"), Value::U32(1)),
            (key("attention.recurrent_layers"), Array::Bool(recurrent.into()).into()),
            // The list counts.
            (key("full_attention_interval"), Value::U32(9)),
        ];
        let with = made.path().join("with.gguf");
        let mut writer = gguf::Writer::new("with.gguf");
        for (k, v) in file.metadata.entries().filter(|(k, _)| !changes.iter().any(|c| c.0 == *k)) {
            writer.key(k, v).unwrap();
        }
        for (k, v) in changes {
            writer.key(&k, v).unwrap();
        }
        let tensors = file.checkpoint.tensors();
        // As large as a norm.
        let guess = file.checkpoint.require("output_norm.weight").unwrap();
        for t in tensors {
            let single = t.name.ends_with("ffn_gate_inp_shexp.weight");
            let shape = if single { [&[1], &*t.shape].concat() } else { t.shape.to_vec() };
            writer.tensor(t.name.clone(), t.dtype, shape).unwrap();
        }
        writer.tensor(format!("blk.{layers}.nextn.enorm.weight"), guess.dtype, guess.shape.clone()).unwrap();
        let mut body = writer.begin(std::io::BufWriter::new(std::fs::File::create(&with).unwrap())).unwrap();
        tensors.iter().chain([guess]).for_each(|t| body.write(&file.checkpoint.read(t).unwrap()).unwrap());
        body.finish().unwrap();
        assert!(logits(&with, &golden) == logits(&plain, &golden), "{name}");
        let model = open(&with, "", 1);
        assert_eq!(model.info().layers, u64::from(layers), "{name}");
    }
}

/// GGUF has the heads of values of Qwen 3.5 in another order; a column's importance goes where the column is.
#[test]
fn importance_is_the_same_of_a_folder_and_of_its_file() {
    let (golden, made) = (goldens().join("tiny-qwen35"), tempfile::tempdir().unwrap());
    let collect = |path: &Path| {
        let options = CollectOptions { context: 40, chunks: None, resumed: None, cancel: CancelFlag::new() };
        let texts = [("text".to_owned(), "Birds of the sea return to where they hatched. ".repeat(9))];
        Imatrix::collect(&open(path, "", 1), &texts, &options, &mut |_, _| {}).unwrap().imatrix
    };
    let (folder, file) = (collect(&golden), collect(&converted(&golden, &made.path().join("m.gguf"))));
    assert!(folder.entries.keys().eq(file.entries.keys()) && folder.entries.contains_key("blk.0.ssm_out.weight"));
    for (name, entry) in &folder.entries {
        let most = entry.sums.iter().fold(0f32, |m, s| m.max(*s));
        let close = entry.sums.iter().zip(&file.entries[name].sums).all(|(a, b)| (a - b).abs() < 1e-3 * most);
        assert!(close, "{name}: {:?} {:?}", entry.sums, file.entries[name].sums);
    }
}

#[test]
fn a_window_of_null_is_none() {
    let (golden, made) = (goldens().join("tiny-lact"), tempfile::tempdir().unwrap());
    let with = |window: Option<u32>| {
        changed("tiny-lact", made.path(), &serde_json::json!({ "window_size": window }));
        logits(made.path(), &golden)
    };
    // The text has 47 tokens.
    let none = with(None);
    assert!(none == with(Some(128)));
    assert!(none != with(Some(20)));
}
