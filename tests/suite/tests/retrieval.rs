//! The example that searches a folder by meaning, on a real encoder.

use retrieval::{FILE, Index};
use tern_tests::{goldens, minilm, open};

const TEXTS: [(&str, &str); 4] = [
    (
        "birds.md",
        "The Arctic tern is a seabird. It flies from one pole to the other and back every year, farther than any bird.",
    ),
    (
        "kitchen/bread.txt",
        "Mix flour, water and salt, and let the dough rest overnight.\n\nBake it in a very hot, covered pot.",
    ),
    (
        "law.txt",
        "The Licensee shall not assign any of its rights under this Agreement without the Licensor's written consent.",
    ),
    ("notes.bin", "The Arctic tern, in a file that is no text."),
];

#[test]
fn questions_find_their_answers_and_only_new_texts_are_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("kitchen")).unwrap();
    for (name, text) in TEXTS {
        std::fs::write(path(name), text).unwrap();
    }
    let model = open(&minilm(), "", 2);
    let index = Index::of(&model, folder.path()).unwrap();
    assert_eq!((index.passages.len(), index.fresh), (3, 3));
    for (question, file) in [
        ("Which animal migrates the longest distance?", "birds.md"),
        ("how do I make a sourdough loaf", "kitchen/bread.txt"),
        ("May I transfer my contract to somebody else?", "law.txt"),
    ] {
        let hits = index.search(&model, question, 2).unwrap();
        assert_eq!((hits.len(), hits[0].passage.file.as_str()), (2, file), "{question}: {hits:?}");
        assert!(hits[0].score > hits[1].score + 0.1, "{question}: {hits:?}");
    }
    let again = Index::of(&model, folder.path()).unwrap();
    assert_eq!((again.passages.len(), again.fresh), (3, 0));
    std::fs::write(path("new.txt"), "Sharks have been in the sea for four hundred million years.").unwrap();
    std::fs::remove_file(path("law.txt")).unwrap();
    let more = Index::of(&model, folder.path()).unwrap();
    assert_eq!((more.passages.len(), more.fresh), (3, 1));
    let best = |index: &Index| index.search(&model, "old fish", 1).unwrap()[0].passage.file.clone();
    assert_eq!(best(&more), "new.txt");
    assert_eq!(best(&Index::of(&model, folder.path()).unwrap()), "new.txt");
    // Another model's vectors are not taken over; what is no index is left alone.
    let other = open(&goldens().join("encoder-bert"), "", 1);
    assert_eq!(Index::of(&other, folder.path()).unwrap().fresh, 3);
    std::fs::write(path(FILE), "something else").unwrap();
    assert!(Index::of(&model, folder.path()).is_err());
    assert_eq!(std::fs::read(path(FILE)).unwrap(), b"something else");
}
