// What a client says next: mostly what drivers say (simple queries, batches, prepared statements,
// COPY both ways, transactions), sometimes any message at all, as long as the conversation stays
// one that PostgreSQL goes on with. It must not know the relay.
#pragma once

#include "tests/simulation/choice.h"
#include "tests/simulation/client.h"

#include <string>
#include <string_view>

namespace schemux::simulation {

class Conversation {
  public:
    Conversation(Client& client, Choice& choice) : client_(client), choice_(choice) {}

    /// Some further messages.
    void go_on();
    /// Whatever is open is closed: a COPY, a batch, a transaction.
    void wind_up();
    void terminate();

  private:
    /// False when this message has no place now, and is not said.
    bool say(std::string_view message);
    void in_copy();
    void simple();
    void batch();
    void prepared();
    void transaction();
    void pipeline();
    void deallocate();
    void any_message();

    std::string text();
    std::string parse(std::string_view statement);
    std::string bind(std::string_view portal, std::string_view statement);
    std::string_view name();

    Client& client_;
    Choice& choice_;
};

}  // namespace schemux::simulation
