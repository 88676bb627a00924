import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** The events of a record of the log, with the fields that counting needs. */
final class Events {
    private static final JsonFactory JSON = new JsonFactory();

    /** One event or clock record. Only the fields that are counted are kept. */
    static final class Event {
        String kind = "";
        String id = "";
        String platform = "";
        String account = "";
        String action = "";
        long occurredAt;
        long streamTime;
        long quantity = 1;
        final List<String> hashtags = new ArrayList<>(2);
    }

    private Events() {}

    /** The entries of a JSON array (or of a single object), in order. A record that is not JSON ends the run. */
    static List<Event> decode(byte[] record) {
        List<Event> events = new ArrayList<>(512);
        try (JsonParser parser = JSON.createParser(record)) {
            JsonToken token = parser.nextToken();
            while (token != null) {
                if (token == JsonToken.START_OBJECT) {
                    events.add(event(parser));
                }
                token = parser.nextToken();
            }
        } catch (IOException error) {
            throw new IllegalStateException("a record of the log is not JSON", error);
        }
        return events;
    }

    private static Event event(JsonParser parser) throws IOException {
        Event event = new Event();
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            String name = parser.currentName();
            parser.nextToken();
            switch (name) {
                case "kind" -> event.kind = parser.getText();
                case "event_id" -> event.id = parser.getText();
                case "platform" -> event.platform = parser.getText();
                case "account" -> event.account = parser.getText();
                case "action" -> event.action = parser.getText();
                case "occurred_at" -> event.occurredAt = parser.getLongValue();
                case "stream_time" -> event.streamTime = parser.getLongValue();
                case "quantity" -> event.quantity = parser.getLongValue();
                case "hashtags" -> {
                    while (parser.nextToken() == JsonToken.VALUE_STRING) {
                        event.hashtags.add(parser.getText());
                    }
                }
                default -> parser.skipChildren();
            }
        }
        return event;
    }
}
