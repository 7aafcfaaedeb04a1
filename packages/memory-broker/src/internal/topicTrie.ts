/**
 * The index of a topic exchange: a trie over the words of binding keys, so that routing costs what the routing key
 * costs and not what the number of bindings costs.
 */
interface Node<A> {
  readonly children: Map<string, Node<A>>
  /** How many bindings put each destination here. */
  readonly destinations: Map<A, number>
}

const makeNode = <A>(): Node<A> => ({ children: new Map(), destinations: new Map() })

const words = (key: string): Array<string> => key === "" ? [] : key.split(".")

export class TopicTrie<A> {
  readonly #root: Node<A> = makeNode()

  add(pattern: string, destination: A): void {
    let node = this.#root
    for (const word of words(pattern)) {
      let child = node.children.get(word)
      if (child === undefined) {
        child = makeNode()
        node.children.set(word, child)
      }
      node = child
    }
    node.destinations.set(destination, (node.destinations.get(destination) ?? 0) + 1)
  }

  remove(pattern: string, destination: A): void {
    const remove = (node: Node<A>, path: ReadonlyArray<string>, index: number): void => {
      const word = path[index]
      if (word === undefined) {
        const count = node.destinations.get(destination) ?? 0
        if (count > 1) node.destinations.set(destination, count - 1)
        else node.destinations.delete(destination)
        return
      }
      const child = node.children.get(word)
      if (child === undefined) return
      remove(child, path, index + 1)
      if (child.children.size === 0 && child.destinations.size === 0) node.children.delete(word)
    }
    remove(this.#root, words(pattern), 0)
  }

  /** Adds every destination whose pattern matches: `*` is exactly one word, `#` any number of them. */
  match(routingKey: string, into: Set<A>): void {
    const path = words(routingKey)
    const visit = (node: Node<A>, index: number): void => {
      const rest = node.children.get("#")
      if (rest !== undefined) {
        for (let skipped = index; skipped <= path.length; skipped++) visit(rest, skipped)
      }
      const word = path[index]
      if (word === undefined) {
        for (const destination of node.destinations.keys()) into.add(destination)
        return
      }
      const exact = node.children.get(word)
      // A routing key may contain the words "*" and "#": then the wildcard below is the exact child.
      if (exact !== undefined && word !== "#" && word !== "*") visit(exact, index + 1)
      const any = node.children.get("*")
      if (any !== undefined) visit(any, index + 1)
    }
    visit(this.#root, 0)
  }
}
